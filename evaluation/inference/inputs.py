"""The inputs of batch inference: tables, text files, directories of them, and data sets of `cmbert data prepare`."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from ...configs.errors import UserError
from ...configs.limits import DOCUMENT_CHARACTERS
from ...configs.preconditions import check_all
from ...streaming_data.corpora.tables import table_form
from ...streaming_data.documents.bounded import document_too_long
from ...streaming_data.documents.files import explain_read_errors, open_text
from ...streaming_data.shards.manifest import NAME, SPLITS, read_manifest
from ...streaming_data.shards.mds import PackReader
from ..formats.records import read_records
from ..formats.values import position, read_identifier, read_text
from .chunks import Record

FORMS = ".csv, .tsv, .jsonl, .ndjson, .parquet or .txt (all but .parquet may be gzipped)"


def is_data_set(path: Path) -> bool:
    """Whether it is the directory of a prepared data set."""
    return (path / NAME).is_file()


def input_files(path: Path) -> list[Path]:
    """The files of an input: itself, or the tables and text files in a directory, by their names.

    Raises:
        UserError: there is nothing, or nothing of a known form.
    """
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.is_file() and is_readable(file))
        if not files:
            raise UserError(f"{path}: no file in it is a table or a text; expected {FORMS}, or a prepared data set")
        return files
    if not path.is_file():
        raise UserError(f"{path}: no such file; expected {FORMS}, a directory of these, or a prepared data set")
    if not is_readable(path):
        raise UserError(f"{path}: not a table and not a text; expected {FORMS}")
    return [path]


def check_input(path: Path, text: str | Sequence[str], id_column: str | None) -> None:
    """Check that the input exists and that the first record of each file can be read.

    Raises:
        UserError: one cannot.
    """
    if is_data_set(path):
        read_manifest(str(path))
        return
    check_all(partial(next, _read_file(file, text, id_column), None) for file in input_files(path))


def read_input(path: Path, text: str | Sequence[str], id_column: str | None) -> Iterator[Record]:
    """The records of an input, in order; `content` is a text, or of a data set the token ids of a segment.

    Args:
        text: the column of the text; with several columns `content` is a list of their texts.
        id_column: the column of the id; None: the file's name and the number of the record.
    Raises:
        UserError: a record is bad; the message has its file and line, and never its text.
    """
    if is_data_set(path):
        yield from _read_data_set(path)
    else:
        for file in input_files(path):
            yield from _read_file(file, text, id_column)


def _read_file(path: Path, text: str | Sequence[str], id_column: str | None) -> Iterator[Record]:
    texts = [text] if isinstance(text, str) else list(text)
    if _is_text(path):
        if len(texts) > 1:
            raise UserError(f"{path}: a text; expected a table with the columns {', '.join(texts)}")
        yield Record(path.name, _read_text_file(path))
        return
    columns = list(dict.fromkeys([*texts, *([id_column] if id_column else [])]))
    for number, record in read_records(path, columns):
        where = position(path, number)
        name = read_identifier(record, id_column, where) if id_column else f"{path.name}:{number}"
        values = [read_text(record, column, where) for column in texts]
        yield Record(name, values[0] if len(values) == 1 else values)


def _read_text_file(path: Path) -> str:
    with open_text(path) as file, explain_read_errors(path, lambda: "its first bytes"):
        content = file.read(DOCUMENT_CHARACTERS + 1)
    if len(content) > DOCUMENT_CHARACTERS:
        raise document_too_long(path, "line 1", len(content))
    if not content.strip():
        raise UserError(f"{path}: has no text; fill it in or remove the file")
    return content


def _read_data_set(path: Path) -> Iterator[Record]:
    """One record per segment, as it is in the packs: a document that was split has several of the same id."""
    for source, entry in read_manifest(str(path)).sources.items():
        for split in SPLITS:
            if not entry.splits[split].packs:
                continue
            reader = PackReader(f"{path}/{source}/{split}")
            for number in range(len(reader)):
                pack, start = reader[number], 0
                for length, name in zip(pack.lengths.tolist(), pack.doc_ids, strict=True):
                    yield Record(f"{source}/{name}", pack.tokens[start : start + length].tolist())
                    start += length


def is_readable(path: Path) -> bool:
    return _is_text(path) or table_form(path) is not None


def _is_text(path: Path) -> bool:
    return path.name.lower().removesuffix(".gz").endswith(".txt")
