"""Your own notes: JSON lines, CSV or Parquet, one document a record, columns named in the config."""

import json
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from ...configs.errors import UserError
from ..documents import Document
from ..prepare_config import TableSource
from .csv_records import read_csv
from .files import open_text, reading

_PARQUET_ROWS = 1024


def read(path: Path, source: TableSource) -> Iterator[Document]:
    """One document a record; meta holds the column of `split_by`."""
    needed = list(dict.fromkeys([source.text, source.split_by, *([source.id] if source.id else [])]))
    for number, row in read_records(path, needed):
        values = {name: _as_text(row[name]) for name in needed}
        if not values[source.split_by].strip():
            raise UserError(
                f"{path}: record {number} has no {source.split_by}; split_by must name a column that is filled in "
                "every record, so that a patient's notes stay together"
            )
        document_id = values[source.id] if source.id else f"{path.name}:{number}"
        yield Document(document_id, source.name, values[source.text], {source.split_by: values[source.split_by]})


def _as_text(value: Any) -> str:
    return "" if value is None else str(value)


def read_records(path: Path, needed: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The records of a table of any of these formats, numbered from 1, with the columns `needed` and maybe others."""
    name = path.name.removesuffix(".gz")
    if name.endswith(".csv"):
        yield from read_csv(path, needed)
    elif name.endswith((".jsonl", ".ndjson")):
        yield from _read_json_lines(path, needed)
    elif name.endswith(".parquet"):
        yield from _read_parquet(path, needed)
    else:
        raise UserError(f"{path}: not a table; expected .csv, .jsonl or .ndjson (plain or .gz), or .parquet")


def _read_json_lines(path: Path, needed: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    number = 0
    with open_text(path) as file, reading(path, lambda: f"line {number}"):
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except json.JSONDecodeError as error:
                raise UserError(
                    f"{path}: line {number} is not JSON ({error.msg}); expected one object a line"
                ) from error
            if not isinstance(record, dict):
                raise UserError(f'{path}: line {number} is not a JSON object; expected {{"{needed[0]}": ...}}')
            if missing := [name for name in needed if name not in record]:
                raise UserError(f"{path}: line {number} has no {', '.join(missing)}; it has {', '.join(record)}")
            yield number, record


def _read_parquet(path: Path, needed: Sequence[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        raise UserError(
            f"{path}: reading Parquet needs pyarrow; run `pip install clinical-modernbert[parquet]`"
        ) from error
    try:
        table = parquet.ParquetFile(path)
        if missing := [name for name in needed if name not in table.schema_arrow.names]:
            have = ", ".join(table.schema_arrow.names)
            raise UserError(f"{path}: no column {', '.join(missing)}; the file has {have}")
        batches = table.iter_batches(_PARQUET_ROWS, columns=list(needed))
        yield from enumerate((row for batch in batches for row in batch.to_pylist()), start=1)
    except arrow.ArrowInvalid as error:
        raise UserError(f"{path}: not a whole Parquet file ({error}); write or copy it again") from error
