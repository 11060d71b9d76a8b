"""`cmbert report`: what a run did, as one page."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[Path, typer.Argument(help="A run's directory; it may still run, or have been killed.")],
    out: Annotated[Path | None, typer.Option(help="The HTML file.  [default: RUN/report.html]")] = None,
    evaluation: Annotated[
        list[Path],
        typer.Option(help="A directory of results of `cmbert evaluate`, beside RUN/evaluation; repeatable."),
    ] = [],  # noqa: B006 - typer copies it
) -> None:
    """Write losses, schedules, speed, data mix, starts, checkpoints and origin of a run into one HTML page.

    Example: cmbert report runs/base

    The page needs no network and no other file, and holds no text of documents.
    """
    from ..report.page import write_report

    page = out or run / "report.html"
    write_report(run, page, evaluation)
    typer.echo(f"report written to {page}")
