"""`cmbert report`: one HTML page about a run, or about several next to each other."""

from pathlib import Path
from typing import Annotated

import typer

from ...configs.errors import UserError
from ...configs.reporting import suggest
from ..interface import completion
from ..interface.next_steps import export_of


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            help="The directory of a run, which may be active, complete or killed; several are compared.",
            metavar="RUN...",
            autocompletion=completion.runs,
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="The HTML file to write. Default for one run: RUN/report.html")
    ] = None,
    evaluation: Annotated[
        list[Path],
        typer.Option(help="A directory with results of `cmbert evaluate`, in addition to RUN/evaluation; repeatable."),
    ] = [],  # noqa: B006 - typer copies it
) -> None:
    """Write losses, schedules, speed, data mix, attempts, checkpoints and provenance of a run to one HTML page.

    Example: cmbert report runs/base

    The page of several runs has their curves in the same charts, their final numbers, and how their recipes differ.
    The page needs no network and no other file, and contains no text of documents.
    """
    if out is None and len(runs) > 1:
        raise UserError(
            "several runs are compared on one page: name the file with --out, such as --out comparison.html"
        )

    from ..report.page import write_report

    page = out or runs[0] / "report.html"
    write_report(runs, page, evaluation)
    typer.echo(f"report written to {page}")
    suggest(*(export_of(run) if (run / "checkpoints").is_dir() else ["status", str(run)] for run in runs))
