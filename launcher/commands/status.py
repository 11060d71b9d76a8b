"""`cmbert status`: the status of runs."""

import json
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...configs.reporting import suggest
from .next_steps import export_of

if TYPE_CHECKING:
    from rich.table import Table

    from ..runs.status import Status


def status(
    runs: Annotated[list[Path], typer.Argument(help="One or more run directories.", metavar="RUN_DIR...")],
    as_json: Annotated[bool, typer.Option("--json", help="Print all values as JSON.")] = False,
) -> None:
    """Show step, loss, speed and remaining time of a run, and every attempt: its machines and how it ended.

    Example: cmbert status runs/base

    It reads only files in the run's directory, so it works on any machine with access to them, also after a crash.
    """
    from rich.console import Console

    from ..runs.status import COMPLETE, RUNNING, read_status

    statuses = [read_status(run) for run in runs]
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in statuses], indent=1))
        return
    console = Console(markup=False)
    for one in statuses:
        console.print("\n".join(summary(one)), highlight=False, soft_wrap=True)
        console.print(attempts_table(one))
    for run, one in zip(runs, statuses, strict=True):
        stopped = one.state != RUNNING and (run / "config.yaml").is_file()
        then = [export_of(run)] if one.state == COMPLETE else [["train", str(run / "config.yaml")]] if stopped else []
        suggest(["report", str(run)], *then)


def summary(status: "Status") -> list[str]:
    """Return the main values, one per line."""
    total = f" of {status.steps:,}, {status.step / status.steps:.1%}" if status.steps else ""
    lines = [f"{status.run_dir}: {status.state}", f"step        {status.step:,}{total}"]
    if status.loss is not None:
        lines.append(f"loss        {status.loss:.4f}")
    if status.tokens_per_second is not None:
        lines.append(f"speed       {status.tokens_per_second:,.0f} tokens/s, median of the last steps")
    if status.seconds_left is not None and status.state != "complete":
        lines.append(f"time left   {_duration(status.seconds_left)} at that speed")
    checkpoint = f"step {status.checkpoint_step:,}, {status.checkpoint}" if status.checkpoint else "none yet"
    lines.append(f"checkpoint  {checkpoint}")
    if status.seconds_since_update is not None:
        lines.append(f"last update {_duration(status.seconds_since_update)} ago")
    return lines


def attempts_table(status: "Status") -> "Table":
    from rich.box import SIMPLE
    from rich.table import Table

    from ..runs.status import describe_outcome

    table = Table("attempt", "UTC", "launcher", "from step", "ranks", "hosts", "outcome", box=SIMPLE)
    table.columns[1].no_wrap = True
    for attempt in status.attempts:
        table.add_row(
            "-" if attempt.number is None else str(attempt.number),
            attempt.started[:19].replace("T", " "),
            " ".join(word for word in (attempt.launcher, attempt.job) if word) or "-",
            "-" if attempt.step is None else f"{attempt.step:,}",
            "-" if attempt.ranks is None else str(attempt.ranks),
            attempt.hosts,
            describe_outcome(attempt),
        )
    return table


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
