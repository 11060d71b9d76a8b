"""The columns and first records of a table of notes, to propose a recipe for it."""

import codecs
import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any

from ...configs.errors import UserError
from ...streaming_data.corpora.tables import read_records
from ...streaming_data.documents.csv_records import separator_of
from ...streaming_data.documents.files import encoding_of_mark, open_binary, open_text

_RECORDS = 200
_BYTES = 1 << 20
_DELIMITERS = ",;\t"


@dataclass(frozen=True)
class Sample:
    """The beginning of a table.

    Attributes:
        columns: names that occur once, in order. In a file without a header they are a patient's data: never show them.
        records: the first ones, {column: value}.
        encoding: a guess from the beginning of the file.
    """

    path: Path
    columns: list[str]
    records: list[dict[str, Any]]
    encoding: str


def read_sample(path: Path) -> Sample:
    """Read the beginning of a CSV, TSV, JSON Lines or Parquet file.

    Raises:
        UserError: it is no table, has no records, or cannot be read.
    """
    name = path.name.lower().removesuffix(".gz")
    encoding = "utf-8" if name.endswith(".parquet") else _guess_encoding(path)
    if name.endswith(".parquet"):
        found = _parquet_columns(path)
    elif name.endswith((".jsonl", ".ndjson")):
        found = _json_keys(path, encoding)
    elif name.endswith((".csv", ".tsv")):
        found = _csv_header(path, encoding)
    else:
        raise UserError(f"{path}: not a table; expected .csv, .tsv, .jsonl or .ndjson (plain or .gz), or .parquet")
    columns = [column for column in found if column and found.count(column) == 1]
    records = [row for _, row in islice(read_records(path, columns, encoding), _RECORDS)] if columns else []
    if not records:
        raise UserError(f"{path}: no records found; expected a table with a header and at least one record")
    return Sample(path, columns, records, encoding)


def _guess_encoding(path: Path) -> str:
    """Return the encoding of a byte order mark, or utf-8, or else cp1252, in which many programs on Windows write."""
    with open_binary(path) as file:
        start = file.read(_BYTES)
    if marked := encoding_of_mark(start):
        return marked.removesuffix("-sig")
    try:
        codecs.getincrementaldecoder("utf-8")().decode(start)  # the last character may be cut
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def _csv_header(path: Path, encoding: str) -> list[str]:
    """Return the first record, with the delimiter that gives it most fields; a line `sep=;` of Excel is skipped."""
    lines = (line for line in _first_lines(path, encoding) if line.strip() and not separator_of(line))
    text = "".join(islice(lines, _RECORDS))
    headers = [next(csv.reader(io.StringIO(text, newline=""), delimiter=one), []) for one in _DELIMITERS]
    return [name.strip() for name in max(headers, key=len)]


def _json_keys(path: Path, encoding: str) -> list[str]:
    """Return the keys of the first object, or none: `read_records` explains what is wrong."""
    line = next(filter(str.strip, _first_lines(path, encoding)), "null")
    try:
        record = json.loads(line)
    except ValueError as error:
        raise UserError(f"{path}: the first line is not JSON; expected one object per line") from error
    return list(record) if isinstance(record, dict) else []


def _parquet_columns(path: Path) -> list[str]:
    try:
        parquet = import_module("pyarrow.parquet")
    except ImportError:
        return []
    try:
        return list(parquet.read_schema(path).names)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: truncated or corrupt Parquet file; write or copy it again") from error


def _first_lines(path: Path, encoding: str) -> Iterator[str]:
    with open_text(path, encoding) as file:
        yield from io.StringIO(file.read(_BYTES), newline="")
