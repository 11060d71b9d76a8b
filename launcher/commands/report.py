"""`cmbert report`: one HTML page about a run."""

from pathlib import Path
from typing import Annotated

import typer

from ...configs.reporting import suggest
from .next_steps import export_of


def report(
    run: Annotated[Path, typer.Argument(help="The directory of a run, which may be active, complete or killed.")],
    out: Annotated[Path | None, typer.Option(help="The HTML file to write. Default: RUN/report.html")] = None,
    evaluation: Annotated[
        list[Path],
        typer.Option(help="A directory with results of `cmbert evaluate`, in addition to RUN/evaluation; repeatable."),
    ] = [],  # noqa: B006 - typer copies it
) -> None:
    """Write losses, schedules, speed, data mix, attempts, checkpoints and provenance of a run to one HTML page.

    Example: cmbert report runs/base

    The page needs no network and no other file, and contains no text of documents.
    """
    from ..report.page import write_report

    page = out or run / "report.html"
    write_report(run, page, evaluation)
    typer.echo(f"report written to {page}")
    suggest(export_of(run) if (run / "checkpoints").is_dir() else ["status", str(run)])
