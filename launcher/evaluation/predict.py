"""`cmbert predict`: what a fine-tuned model says of new texts, for files of any size."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer

from ...configs.preconditions import Check, check_all, check_packages
from ...configs.progress import format_duration, short_number
from ...configs.reporting import suggest
from ..interface import completion
from ..interface.options import IdColumn, TokensAtOnce, Workers

if TYPE_CHECKING:
    from ...evaluation.saved_settings import Settings


def predict(
    model: Annotated[
        Path, typer.Argument(help="A directory that `cmbert finetune` wrote.", autocompletion=completion.runs)
    ],
    source: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT",
            help="A table (CSV, TSV, JSON lines, Parquet), a .txt file, a directory of these, or, for entities, texts "
            "in a format of annotations.",
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="New file: .jsonl or .parquet; for entities also the format of the input, such as .ann or .pubtator, "
            "or a directory of BRAT files."
        ),
    ],
    text: Annotated[
        list[str] | None, typer.Option(help="Column of the text; twice for pairs. Default: those of the task.")
    ] = None,
    id_column: IdColumn = None,
    workers: Workers = None,
    tokens: TokensAtOnce = 16_384,
) -> None:
    """Write what a fine-tuned model predicts for each text, in the order of the input; JSON lines have no text.

    Example: cmbert predict runs/diseases/ncbi-disease-0 notes.csv --text note --id note_id --out notes.jsonl

    After an interruption the same command continues. The bytes of the output do not depend on the number of processes.
    """
    from ...evaluation.saved_settings import read_settings
    from ...evaluation.suite import kind_of

    settings = read_settings(model)
    kind = kind_of(settings.task)
    columns = tuple(text) if text else kind.columns(settings.task) if kind.columns else ()
    check_all(_checks(settings, source, out, columns, id_column))

    from ...evaluation.inference.chunks import run_in_chunks
    from ...evaluation.inference.predictions import is_annotated, open_predictor, read_texts, write_predictions
    from ...evaluation.inference.processes import default_workers
    from ...evaluation.models.addresses import hash_model

    annotated = settings.task.kind == "ner" and is_annotated(source, columns)
    texts = partial(read_texts, source, columns, id_column, annotated)
    started = monotonic()
    counts = run_in_chunks(
        texts,
        partial(open_predictor, model, tokens),
        partial(write_predictions, out.name, texts, source if annotated else None),
        out,
        {"model": hash_model(model), "tokens": tokens},
        workers or default_workers(),
        "predicting",
    )
    seconds = monotonic() - started
    rate = f"{short_number(counts['tokens'] / seconds)} tokens/s" if seconds else ""
    typer.echo(f"{counts['texts']:,} texts, {counts['tokens']:,} tokens in {format_duration(seconds)} ({rate})")
    if counts["cut"]:
        typer.echo(f"{counts['cut']:,} texts were longer than the model and cut, as in the model's training")
    typer.echo(f"predictions  {out}")
    suggest(["evaluate", settings.base, "OTHER", "--task", settings.name, "--set", "data=DIRECTORY"])


def _checks(
    settings: "Settings", source: Path, out: Path, columns: tuple[str, ...], id_column: str | None
) -> Iterator[Check]:
    from ...evaluation.inference.chunks import check_output
    from ...evaluation.inference.inputs import check_input
    from ...evaluation.inference.predictions import check_predicts, is_annotated
    from ...evaluation.suite import kind_of
    from ...storage.preconditions import check_writable

    yield lambda: check_predicts(settings.task, kind_of(settings.task), out)
    if out.suffix == ".parquet":
        yield lambda: check_packages("Parquet files", "parquet")
    yield lambda: check_writable(out)
    yield lambda: check_output(out)
    if not (settings.task.kind == "ner" and source.exists() and is_annotated(source, columns)):
        yield lambda: check_input(source, columns, id_column)
