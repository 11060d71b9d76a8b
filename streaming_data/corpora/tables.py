"""Your own notes: JSON lines, CSV or Parquet, one document a record, columns named in the config."""

import json
import re
from collections.abc import Iterator, Sequence
from encodings.aliases import aliases
from importlib import import_module
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any, Literal

from pydantic import field_validator

from ...configs.errors import UserError
from ...configs.spelling import nearest_name
from ..documents.columns import check_columns, describe
from ..documents.csv_records import read_csv
from ..documents.document import Document
from ..documents.files import open_text, reading
from ..documents.identifiers import identifier, missing
from .source import Source


class TableSource(Source):
    """Your own notes: JSON lines, CSV, TSV or Parquet (by the file's name), one document a record.

    Attributes:
        text: the column of the text.
        id: the column of the document's id; without it the file's name and the record's number are the id.
        split_by: the column of the patient, whose records all go to one side of the held-out split.
        encoding: of the files' text, as Python calls it, such as `cp1252` or `utf-16`; Parquet knows its own.
    """

    format: Literal["table"]
    text: str = "text"
    id: str | None = None
    encoding: str = "utf-8"

    @field_validator("encoding")
    @classmethod
    def _encoding_is_known(cls, name: str) -> str:
        try:
            TextIOWrapper(BytesIO(), encoding=name)
        except LookupError as error:
            near = nearest_name(name, {*aliases, *aliases.values()})
            hint = f"did you mean {near}?" if near else "expected one such as utf-8, cp1252 or utf-16"
            raise ValueError(f"{name!r} is no encoding of text; {hint}") from error
        return name


_CSV = (".csv", ".tsv")
_JSON_LINES = (".jsonl", ".ndjson")
_PARQUET_ROWS = 1024
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def read(path: Path, source: TableSource) -> Iterator[Document]:
    """One document a record; meta holds the column of `split_by`."""
    unit = "line" if _plain_name(path).endswith(_JSON_LINES) else "record"
    identifiers = list(dict.fromkeys([source.split_by, *([source.id] if source.id else [])]))
    records = read_records(path, list(dict.fromkeys([source.text, *identifiers])), source.encoding)
    for number, row in records:
        found = {name: identifier(row[name]) for name in identifiers}
        if not all(found.values()):
            raise missing(path, identifiers, f"{unit} {number}", records)
        text = row[source.text]
        if not isinstance(text, str | None):
            kind = type(text).__name__
            raise UserError(f"{path}: {unit} {number}: {source.text} is of the type {kind}; expected text or null")
        document_id = found[source.id] if source.id else f"{path.name}:{number}"
        yield Document(document_id, source.name, text or "", {source.split_by: found[source.split_by]})


def read_records(path: Path, needed: Sequence[str], encoding: str = "utf-8") -> Iterator[tuple[int, dict[str, Any]]]:
    """The records of a table of any of these formats, numbered from 1, with the columns `needed` and maybe others.

    A record of JSON lines has the number of its line. Half a character, left where an export cut an emoji in two,
    becomes U+FFFD.
    """
    name = _plain_name(path)
    if name.endswith(_CSV):
        records: Iterator[tuple[int, dict[str, Any]]] = read_csv(path, needed, encoding)
    elif name.endswith(_JSON_LINES):
        records = _read_json_lines(path, needed, encoding)
    elif name.endswith(".parquet"):
        records = _read_parquet(path, needed)
    else:
        raise UserError(f"{path}: not a table; expected .csv, .tsv, .jsonl or .ndjson (plain or .gz), or .parquet")
    for number, row in records:
        yield number, {name: _whole(value) for name, value in row.items()}


def _plain_name(path: Path) -> str:
    return path.name.lower().removesuffix(".gz")


def _whole(value: Any) -> Any:
    if isinstance(value, str):
        try:
            value.encode()  # many times faster than looking for what is so rare
        except UnicodeEncodeError:
            return _LONE_SURROGATE.sub("\ufffd", value)
    return value


def _read_json_lines(path: Path, needed: Sequence[str], encoding: str) -> Iterator[tuple[int, dict[str, Any]]]:
    number = 0
    with open_text(path, encoding) as file, reading(path, lambda: f"line {number}", encoding):
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:  # a number of thousands of digits; brackets without end
                reason = error.msg if isinstance(error, json.JSONDecodeError) else error
                raise UserError(f"{path}: line {number} is not JSON ({reason}); expected one object a line") from error
            if not isinstance(record, dict):
                raise UserError(f'{path}: line {number} is not a JSON object; expected {{"{needed[0]}": ...}}')
            if absent := [name for name in needed if name not in record]:
                has = describe(list(record), needed, "keys")
                raise UserError(f"{path}: line {number} has no {', '.join(absent)}; it has {has}")
            yield number, record


def _read_parquet(path: Path, needed: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        raise UserError(
            f"{path}: reading Parquet needs pyarrow; run `pip install clinical-modernbert[parquet]`"
        ) from error
    number = 0
    try:
        table = parquet.ParquetFile(path)
        check_columns(path, table.schema_arrow.names, needed)
        for batch in table.iter_batches(_PARQUET_ROWS, columns=list(needed)):
            for row in batch.to_pylist():
                number += 1
                yield number, row
    except (arrow.ArrowException, OSError) as error:
        raise UserError(f"{path}: not a whole Parquet file ({type(error).__name__}); write or copy it again") from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: one of the {_PARQUET_ROWS:,} records after record {number} is not UTF-8 ({error.reason}); "
            "write the file again"
        ) from error
