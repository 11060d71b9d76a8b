"""Your own notes: JSON Lines, CSV or Parquet, one document per record, columns named in the config."""

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
from ...configs.limits import DOCUMENT_CHARACTERS, EXPANSION, FREE_EXPANSION, RECORD_CHARACTERS, TooLargeError
from ...configs.spelling import nearest_name
from ..documents.bounded import bounded_lines, document_too_long
from ..documents.columns import check_columns, describe_names, match_names
from ..documents.csv_records import read_csv
from ..documents.document import Document
from ..documents.files import explain_read_errors, open_text
from ..documents.identifiers import missing_identifier, normalize_identifier
from ..documents.markup import markup_refused, unconverted_markup
from ..documents.spans import Span
from .source import Source


class TableSource(Source):
    """Your own notes: JSON Lines, CSV, TSV or Parquet (by the file's name), one document per record.

    Attributes:
        text: the column of the text.
        id: the column of the document's id; null uses the file's name and the record's number.
        split_by: the column of the patient, whose records all go to the same split.
        encoding: of the files' text, by Python's name, such as `cp1252` or `utf-16`; Parquet files define their own.
    """

    format: Literal["table"]
    text: str = "text"
    id: str | None = None
    encoding: str = "utf-8"

    @field_validator("encoding")
    @classmethod
    def _check_encoding(cls, name: str) -> str:
        try:
            TextIOWrapper(BytesIO(), encoding=name)
        except LookupError as error:
            near = nearest_name(name, {*aliases, *aliases.values()})
            hint = f"did you mean {near}?" if near else "expected one such as utf-8, cp1252 or utf-16"
            raise ValueError(f"{name!r} is not a text encoding; {hint}") from error
        return name


_CSV = (".csv", ".tsv")
_JSON_LINES = (".jsonl", ".ndjson")
_PARQUET_ROWS = 64  # each may be a document of the largest size
_PARQUET_BUFFER = 1 << 20
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


def read(path: Path, source: TableSource, span: Span | None = None) -> Iterator[Document]:
    """One document per record of a file or of a span of it; meta holds the column of `split_by`."""
    unit = "line" if table_form(path) == "lines" else "record"
    identifiers = list(dict.fromkeys([source.split_by, *([source.id] if source.id else [])]))
    records = read_records(path, required_columns(source), source.encoding, span)
    for number, row in records:
        values = {name: normalize_identifier(row[name]) for name in identifiers}
        if not all(values.values()):
            raise missing_identifier(path, identifiers, f"{unit} {number}", records)
        text = row[source.text]
        if not isinstance(text, str | None):
            kind = type(text).__name__
            raise UserError(f"{path}: {unit} {number}: {source.text} is of the type {kind}; expected text or null")
        if text and (markup := unconverted_markup(text, source.clean)):
            rest = (str(row[source.text] or "") for _, row in records)
            raise markup_refused(path, f"{unit} {number}", markup, rest, source.clean)
        document_id = values[source.id] if source.id else f"{path.name}:{number}"
        yield Document(document_id, source.name, text or "", {source.split_by: values[source.split_by]})


def required_columns(source: TableSource) -> list[str]:
    return list(dict.fromkeys([source.text, source.split_by, *([source.id] if source.id else [])]))


def table_form(path: Path) -> Literal["csv", "lines", "parquet"] | None:
    """The form of a table, by its name."""
    name = path.name.lower().removesuffix(".gz")
    if name.endswith(_CSV):
        return "csv"
    return "lines" if name.endswith(_JSON_LINES) else "parquet" if name.endswith(".parquet") else None


def read_records(
    path: Path, required: Sequence[str], encoding: str = "utf-8", span: Span | None = None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The records of a table of any of these formats, numbered from 1, with the `required` columns and maybe others.

    The number of a JSON Lines record is its line number. A lone surrogate, left where an export cut an emoji in two,
    becomes U+FFFD.
    """
    form = table_form(path)
    if form == "csv":
        records: Iterator[tuple[int, dict[str, Any]]] = read_csv(path, required, encoding, span)
    elif form == "lines":
        records = _read_json_lines(path, required, encoding, span)
    elif form == "parquet":
        records = _read_parquet(path, required, span)
    else:
        raise UserError(f"{path}: not a table; expected .csv, .tsv, .jsonl or .ndjson (plain or .gz), or .parquet")
    unit = "line" if form == "lines" else "record"
    for number, row in records:
        if (longest := max((len(value) for value in row.values() if isinstance(value, str)), default=0)) > (
            DOCUMENT_CHARACTERS
        ):
            raise document_too_long(path, f"{unit} {number}", longest)
        yield number, {name: _replace_lone_surrogates(value) for name, value in row.items()}


def _replace_lone_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        try:
            value.encode()  # much faster than searching for surrogates, which are rare
        except UnicodeEncodeError:
            return _LONE_SURROGATE.sub("\ufffd", value)
    return value


def _read_json_lines(
    path: Path, required: Sequence[str], encoding: str, span: Span | None
) -> Iterator[tuple[int, dict[str, Any]]]:
    number = before = span.first if span else 0
    with open_text(path, encoding, span) as file, explain_read_errors(path, lambda: f"line {number}", encoding):
        for number, line in enumerate(bounded_lines(path, file, RECORD_CHARACTERS), start=before + 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:  # a number with thousands of digits; excessive nesting
                why = error.msg if isinstance(error, json.JSONDecodeError) else error
                raise UserError(f"{path}: line {number} is not JSON ({why}); expected one object per line") from error
            if not isinstance(record, dict):
                raise UserError(f'{path}: line {number} is not a JSON object; expected {{"{required[0]}": ...}}')
            if any(name not in record for name in required):
                record = dict(zip(match_names(list(record), required), record.values(), strict=True))
            if absent := [name for name in required if name not in record]:
                has = describe_names(list(record), required, "keys")
                raise UserError(f"{path}: line {number} has no {', '.join(absent)}; it has {has}")
            yield number, record


def _check_row_groups(path: Path, metadata: Any) -> None:
    """Refuse a file whose row groups say that they expand out of proportion.

    Only numbers of groups are read: pyarrow ends the process at damaged metadata of a column.
    """
    size, compressed = sum(metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups)), 0
    if size > max(FREE_EXPANSION, EXPANSION * (compressed := path.stat().st_size)):
        raise TooLargeError(
            f"{path}: {compressed:,} bytes of Parquet expand to {size:,}, over {EXPANSION} times as many, as no text "
            "does; if it is right nevertheless, write the file without compression"
        )


def open_parquet(path: Path) -> Any:
    """pyarrow's ParquetFile, which reads a few pages at a time, not a row group at once."""
    return import_module("pyarrow.parquet").ParquetFile(path, buffer_size=_PARQUET_BUFFER, pre_buffer=False)


def _read_parquet(path: Path, required: Sequence[str], span: Span | None) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        arrow, _ = import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        raise UserError(f"{path}: reading Parquet needs pyarrow; run `pip install pyarrow`") from error
    number = span.first if span else 0
    try:
        table = open_parquet(path)
        names = match_names(table.schema_arrow.names, required)
        check_columns(path, names, required)
        columns = dict(zip(names, table.schema_arrow.names, strict=True))
        _check_row_groups(path, table.metadata)
        groups = list(range(span.start, span.stop)) if span else None
        for batch in table.iter_batches(_PARQUET_ROWS, groups, columns=[columns[name] for name in required]):
            for row in batch.to_pylist():
                number += 1
                yield number, {name: row[columns[name]] for name in required}
    except (arrow.ArrowException, OSError) as error:
        kind = type(error).__name__
        raise UserError(f"{path}: truncated or corrupt Parquet file ({kind}); write or copy it again") from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: one of the {_PARQUET_ROWS:,} records after record {number} is not UTF-8 ({error.reason}); "
            "write the file again"
        ) from error
