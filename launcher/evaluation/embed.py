"""`cmbert embed`: one vector per text, for files of any size."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ...configs.errors import UserError
from ...configs.preconditions import Check, check_all, check_packages
from ...configs.progress import format_duration, short_number
from ...configs.reporting import suggest
from ..interface import completion
from ..interface.options import IdColumn, TokensAtOnce, Workers
from .inputs import check_model, is_run, open_any

if TYPE_CHECKING:
    from collections import Counter

    from ...evaluation.inference.sentence_layout import SentenceLayout

Pooling = Literal["mean", "cls"]
Long = Literal["windows", "cut"]


def embed(
    model: Annotated[
        str,
        typer.Argument(
            help="A run, an exported model, a Hugging Face or sentence-transformers directory, or a name on the Hub.",
            autocompletion=completion.runs,
        ),
    ],
    source: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT",
            help="A table (CSV, TSV, JSON lines, Parquet), a .txt file, a directory of these, or a prepared data set.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="New file for ids and vectors: .parquet, .jsonl or .npy.")],
    text: Annotated[str, typer.Option(help="Column of the text.")] = "text",
    id_column: IdColumn = None,
    long: Annotated[
        Long, typer.Option(help="Texts longer than the model: the mean over windows that overlap, or the beginning.")
    ] = "windows",
    pooling: Annotated[Pooling | None, typer.Option(help="Default: what the model's files say, else mean.")] = None,
    normalize: Annotated[
        bool | None,
        typer.Option("--normalize/--no-normalize", help="Vectors of length 1. Default: what the model's files say."),
    ] = None,
    workers: Workers = None,
    tokens: TokensAtOnce = 16_384,
) -> None:
    """Write one vector per text, in the order of the input; the output has ids and vectors, and no text.

    Example: cmbert embed models/mine notes.parquet --text note --id note_id --out vectors.parquet

    After an interruption the same command continues. The bytes of the output do not depend on the number of processes.
    """
    check_all(_checks(model, source, out, text, id_column))

    from ...evaluation.inference.chunks import run_in_chunks
    from ...evaluation.inference.embeddings import open_embedder, write_vectors
    from ...evaluation.inference.inputs import read_input
    from ...evaluation.inference.processes import default_workers
    from ...evaluation.models.addresses import find_model

    address = model if is_run(Path(model)) else str(find_model(model))
    layout = _layout(address, pooling, normalize)
    facts = {
        "model": _hashes(address),
        "pooling": layout.pooling,
        "normalize": layout.normalize,
        "max_length": layout.max_length,
        "prompt": layout.prompt,
        "long": long,
        "tokens": tokens,
    }
    started = monotonic()
    counts = run_in_chunks(
        partial(read_input, source, text, id_column),
        partial(open_embedder, partial(open_any, address, Path(model).name), layout, long, tokens),
        partial(write_vectors, out.name, facts),
        out,
        facts,
        workers or default_workers(),
        "embedding",
    )
    _print_summary(counts, monotonic() - started, long)
    typer.echo(f"vectors  {out}")
    suggest(["evaluate", model, "--task", "similarity", "--set", "data=DIRECTORY"])


def _checks(model: str, source: Path, out: Path, text: str, id_column: str | None) -> Iterator[Check]:
    from ...evaluation.inference.chunks import check_output
    from ...evaluation.inference.embeddings import SUFFIXES
    from ...evaluation.inference.inputs import check_input, is_data_set
    from ...evaluation.tasks.masked_words import check_same_tokenizer
    from ...storage.preconditions import check_writable

    if out.suffix not in SUFFIXES:
        yield lambda: _refuse(f"{out}: its name ends in none of {', '.join(SUFFIXES)}; choose one of these forms")
    if out.suffix == ".parquet":
        yield lambda: check_packages("Parquet files", "parquet")
    yield lambda: check_writable(out)
    yield lambda: check_output(out)
    yield lambda: check_input(source, text, id_column)
    yield lambda: check_model(model)
    if is_data_set(source) and Path(model).is_dir():
        yield lambda: check_same_tokenizer(_tokenizer_directory(Path(model)), source)


def _refuse(message: str) -> None:
    raise UserError(message)


def _layout(address: str, pooling: Pooling | None, normalize: bool | None) -> "SentenceLayout":
    from ...evaluation.inference.sentence_layout import SentenceLayout, read_layout

    layout = (None if is_run(Path(address)) else read_layout(Path(address))) or SentenceLayout()
    return layout._replace(
        pooling=layout.pooling if pooling is None else pooling,
        normalize=layout.normalize if normalize is None else normalize,
    )


def _tokenizer_directory(path: Path) -> Path:
    return _checkpoint(path).parent.parent / "tokenizer" if is_run(path) else path


def _checkpoint(path: Path) -> Path:
    from ...training.export.inputs import find_checkpoint

    return find_checkpoint(path)


def _hashes(address: str) -> dict[str, str]:
    """The hashes of the files that determine the model's outputs, without opening it."""
    from ...evaluation.models.addresses import hash_model

    path = Path(address)
    if not is_run(path):
        return hash_model(path)
    return hash_model(_checkpoint(path)) | hash_model(_tokenizer_directory(path))


def _print_summary(counts: "Counter[str]", seconds: float, long: Long) -> None:
    rate = f"{short_number(counts['tokens'] / seconds)} tokens/s" if seconds else ""
    typer.echo(f"{counts['texts']:,} texts, {counts['tokens']:,} tokens in {format_duration(seconds)} ({rate})")
    if counts["long"]:
        what = "cut" if long == "cut" else "embedded as the mean over windows"
        typer.echo(f"{counts['long']:,} texts were longer than the model: {what}")
