"""`cmbert status`: how runs stand."""

import json
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from ..runs.status import Status


def status(
    runs: Annotated[list[Path], typer.Argument(help="Directories of runs.", metavar="RUN_DIR...")],
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Show step, loss, speed, time left, and every start of a run: on which machines, and how it ended.

    Example: cmbert status runs/base

    It reads files of the run's directory only, so it works anywhere that sees them, also after the run died.
    """
    from rich.console import Console

    from ..runs.status import read_status

    found = [read_status(run) for run in runs]
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in found], indent=1))
        return
    console = Console(markup=False)
    for one in found:
        console.print("\n".join(summary(one)), highlight=False, soft_wrap=True)
        console.print(starts_table(one))


def summary(status: "Status") -> list[str]:
    """A few lines that answer what one asks first."""
    of = f" of {status.steps:,}, {status.step / status.steps:.1%}" if status.steps else ""
    lines = [f"{status.run_dir}: {status.state}", f"step        {status.step:,}{of}"]
    if status.loss is not None:
        lines.append(f"loss        {status.loss:.4f}")
    if status.tokens_per_second is not None:
        lines.append(f"speed       {status.tokens_per_second:,.0f} tokens/s, the median of the last steps")
    if status.seconds_left is not None and status.state != "complete":
        lines.append(f"time left   {_duration(status.seconds_left)} at that speed")
    checkpoint = f"step {status.checkpoint_step:,}, {status.checkpoint}" if status.checkpoint else "none yet"
    lines.append(f"checkpoint  {checkpoint}")
    if status.silent_seconds is not None:
        lines.append(f"last heard  {_duration(status.silent_seconds)} ago")
    return lines


def starts_table(status: "Status") -> "Table":
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table("start", "UTC", "launcher", "from step", "ranks", "on", "ended", box=SIMPLE)
    table.columns[1].no_wrap = True
    for start in status.starts:
        told = ": ".join(str(word) for word in (start.code, start.reason) if word is not None)
        table.add_row(
            "-" if start.attempt is None else str(start.attempt),
            start.started[:19].replace("T", " "),
            " ".join(word for word in (start.launcher, start.job) if word) or "-",
            "-" if start.step is None else f"{start.step:,}",
            "-" if start.ranks is None else str(start.ranks),
            start.hosts,
            told,
        )
    return table


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
