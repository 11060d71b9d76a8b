"""`cmbert init`: a first data recipe and training recipe for the user's own notes."""

import logging
import shlex
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from ...configs.errors import UserError
from ...configs.preconditions import check_all
from ...configs.reporting import suggest
from ..interface.arguments import with_repeated

if TYPE_CHECKING:
    from ..starter.recipes import Start

logger = logging.getLogger(__name__)
_MODEL = "models/ModernBERT-base"
_HOW = f"`hf download answerdotai/ModernBERT-base --local-dir {_MODEL}` writes"


class InitCommand(TyperCommand):
    """Lets several files follow one `--notes`, as a shell writes `notes/*.csv`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, with_repeated(args, "--notes"))


def init(
    directory: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="Directory for data.yaml and train.yaml.", show_default=False)
    ] = Path(),
    notes: Annotated[
        list[str],
        typer.Option(metavar="FILE...", help="Tables of notes: CSV, JSON Lines or Parquet; files or patterns."),
    ] = [],  # noqa: B006 - typer copies it
    model: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The ModernBERT to continue, in Hugging Face's format.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Directory for the data set and the run. Default: DIR.")
    ] = None,
    text: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="The column of the text. Default: detected.")
    ] = None,
    patient: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="The column of the patient. Default: detected.")
    ] = None,
) -> None:
    """Write a first data recipe and training recipe for your notes in a table; asks for paths that are not given.

    Example: cmbert init --notes notes/*.csv --model models/ModernBERT-base

    The columns are found by their names and by the first records, of which nothing is printed. No file is overwritten.
    """
    from ...storage.files import atomic_write, require_writable
    from ...streaming_data.shards.restricted import share_unless_restricted
    from ..starter.recipes import data_recipe, training_recipe

    data, train = (directory.expanduser() / name for name in ("data.yaml", "train.yaml"))
    _check_new(data, train)
    start = _start(*_ask(notes, model, output, directory), text, patient)
    share_unless_restricted({})  # recipes have columns, no text
    require_writable(data)
    atomic_write(data, data_recipe(start))
    atomic_write(train, training_recipe(start))
    columns = start.columns
    typer.echo(f"columns: text {columns.text}, patient {columns.patient}, id {columns.id or 'none'}")
    typer.echo(f"about {float(f'{start.tokens:.2g}'):,.0f} tokens, estimated from the size of the files")
    typer.echo(f"wrote {data} and {train}: read them, they explain each key")
    suggest(["data", "prepare", str(data)], ["train", str(train), "--plan"], ["train", str(train)])


def _ask(notes: list[str], model: Path | None, output: Path | None, directory: Path) -> tuple[list[str], Path, Path]:
    """Return the paths, asking for those that are missing if a person can answer."""
    if not sys.stdin.isatty():
        if missing := [name for name, value in (("--notes FILE...", notes), ("--model DIR", model)) if not value]:
            raise UserError(f"missing {' and '.join(missing)}: without a terminal, give the paths as options")
    else:
        notes = notes or shlex.split(typer.prompt("Your notes, files or patterns such as notes/*.csv", type=str))
        model = model or Path(typer.prompt("Directory of the model to continue", type=str, default=_MODEL))
        output = output or Path(
            typer.prompt("Directory for the data set and the run", type=str, default=str(directory))
        )
    assert model is not None
    paths = [str(Path(path).expanduser()) for path in notes]
    return paths, model.expanduser(), (output or directory).expanduser()


def _start(notes: list[str], model: Path, output: Path, text: str | None, patient: str | None) -> "Start":
    from ...storage.preconditions import check_writable
    from ...streaming_data.documents.files import find_files
    from ..starter.columns import propose, records_without
    from ..starter.recipes import Start, estimate_tokens
    from ..starter.sample import read_sample

    *_, files = check_all([lambda: _check_model(model), lambda: check_writable(output), lambda: find_files(notes)])
    samples = check_all([partial(read_sample, path) for path in files or []])
    columns = propose(samples, text, patient)
    for sample in samples:
        if lacking := records_without(sample, columns.patient):
            logger.warning(
                "%s: %d of the first %d records have no %s, and `cmbert data prepare` refuses them: fill it in, or "
                "remove these records",
                sample.path, lacking, len(sample.records), columns.patient,
            )  # fmt: skip
    encodings = {sample.encoding for sample in samples}
    if len(encodings) > 1:
        raise UserError(f"the files have different encodings ({', '.join(sorted(encodings))}): convert them to UTF-8")
    return Start(notes, model, output, estimate_tokens(samples, columns.text), columns, encodings.pop())


def _check_new(data: Path, train: Path) -> None:
    """Raise UserError if one of the files exists or could not be written."""
    from ...storage.preconditions import check_writable

    if existing := [str(path) for path in (data, train) if path.exists()]:
        raise UserError(f"{', '.join(existing)}: exists already; choose another directory: cmbert init DIR")
    check_writable(data)


def _check_model(model: Path) -> None:
    """Raise UserError unless the directory has a ModernBERT and its tokenizer."""
    from ...configs.json_text import parse_json

    missing = [name for name in ("config.json", "tokenizer.json") if not (model / name).is_file()]
    if missing:
        raise UserError(f"{model}: no {' and no '.join(missing)}; expected a model and its tokenizer, such as {_HOW}")
    try:
        kind = parse_json((model / "config.json").read_bytes()).get("model_type")
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(f"{model / 'config.json'}: not the configuration of a model; download it again") from error
    if kind != "modernbert":
        raise UserError(f"{model}: a model of the type {kind}; expected modernbert")
