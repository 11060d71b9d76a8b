"""`cmbert status`: the status of runs."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from ...configs.errors import UserError
from ...configs.reporting import suggest
from ..interface import completion
from ..interface.arguments import with_optional_number
from ..interface.next_steps import export_of


class StatusCommand(TyperCommand):
    """Lets the seconds of `--watch` be left out."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, with_optional_number(args, "--watch", "2"))


def status(
    runs: Annotated[
        list[Path],
        typer.Argument(help="One or more run directories.", metavar="RUN_DIR...", autocompletion=completion.runs),
    ],
    watch: Annotated[
        float | None,
        typer.Option(
            min=0.1, metavar="[SECONDS]", help="Redraw after so many seconds, by default 2, until the runs end."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all values as JSON.")] = False,
) -> None:
    """Show step, loss, speed and remaining time of a run, and every attempt: its machines and how it ended.

    Example: cmbert status runs/base

    It reads the files in the run's directory, and asks the scheduler or the process of the launcher where it can.
    With --watch it redraws the screen; Ctrl-C ends the command, not the run. Elsewhere it prints a line per change.
    """
    from rich.console import Console

    from ..runs.display import attempts_table, summary
    from ..runs.status import COMPLETE, RUNNING, read_status
    from ..runs.watch import watch as watch_runs

    console = Console(markup=False, highlight=False)
    if watch is not None:
        if as_json:
            raise UserError("--watch and --json exclude each other: leave out one of them")
        watch_runs(runs, watch, console)
        if not console.is_terminal:
            return
    statuses = [read_status(run) for run in runs]
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in statuses], indent=1))
        return
    for one in statuses:
        console.print("\n".join(summary(one)), soft_wrap=True)
        console.print(attempts_table(one))
    for run, one in zip(runs, statuses, strict=True):
        stopped = not one.active and not one.state.startswith(RUNNING) and (run / "config.yaml").is_file()
        then = [export_of(run)] if one.state == COMPLETE else [["train", str(run / "config.yaml")]] if stopped else []
        suggest(["report", str(run)], *then)
