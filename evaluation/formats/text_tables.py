"""Tables of texts with a column of spans: CSV, TSV, JSON Lines and Parquet, and doccano's JSON Lines.

A span is a list `[start, end, type]` or an object with `start`, `end` and `type` (or doccano's `start_offset`,
`end_offset` and `label`); in CSV and TSV the list of spans is JSON. Without a column of spans, texts have none.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from ...configs.errors import UserError
from ...storage.files import atomic_write, stage_file
from ...streaming_data.corpora.tables import open_parquet, table_form
from .annotated.offsets import Mark, check_mark, covering_span, type_name, whole_number
from .annotated.text import AnnotatedText, Columns, Relation, Span, pair_with_source
from .records import read_records
from .values import position, read_identifier

_SPANS = ("spans", "entities", "label", "labels")
"""Usual names of the column of spans; the last three are doccano's, and may hold something else."""
_SPECIAL = re.compile('[",\r\n]')
_BREAKS = re.compile(r"[\t\r\n]")
_KEYS = (("start", "end", "type"), ("start", "end", "label"), ("start_offset", "end_offset", "label"))


def read(path: Path, columns: Columns, counts: Counter[str]) -> Iterator[AnnotatedText]:
    """The texts of a table, in the order of its records."""
    records = _records(path, columns)
    columns = columns._replace(id=_id_column(records, columns))
    for number, record in records:
        yield _annotated(record, columns, number, position(path, number), counts)


def write(
    texts: Sequence[AnnotatedText], target: Path, source: Path | None, columns: Columns, counts: Counter[str]
) -> None:
    """Write a table by the name of the target. The columns of a source are kept, but for its spans and relations."""
    if source:
        read_again = list(_records(source, columns))
        originals = [
            _annotated(one, columns, number, position(source, number), Counter()) for number, one in read_again
        ]
        list(pair_with_source(texts, originals, source))
        records = [dict(record) for _, record in read_again]
    else:
        records = [{columns.id or "id": text.id, columns.text: text.text} for text in texts]
    name = columns.spans or _usual_column(records) or "spans"
    for text, record in zip(texts, records, strict=True):
        if isinstance(record.get("relations"), list):
            del record["relations"]
        record[name] = _as_values(text, table_form(target) == "lines")
        if text.relations and table_form(target) == "lines":
            record["relations"] = [
                {"id": number, "from_id": relation.first, "to_id": relation.second, "type": relation.type}
                for number, relation in enumerate(text.relations)
            ]
        else:
            counts["relations, which only .jsonl can hold"] += len(text.relations)
    _write_records(records, name, target)


def _records(path: Path, columns: Columns) -> list[tuple[int, dict[str, Any]]]:
    """All columns of all records: Parquet's reader returns only those that it is asked for."""
    required = [columns.text, *filter(None, [columns.id, columns.spans])]
    if table_form(path) == "parquet":
        list(read_records(path, required))  # its errors
        required = list(open_parquet(path).schema_arrow.names)
    records = list(read_records(path, required))
    if not records:
        raise UserError(f"{path}: has no records; expected texts in the column {columns.text}")
    return records


def _id_column(records: Sequence[tuple[int, Mapping[str, Any]]], columns: Columns) -> str | None:
    """The column of identifiers: that which was named, or `id` if its values are unique."""
    values = [str(record.get("id", "")).strip() for _, record in records]
    return columns.id or ("id" if all(values) and len(set(values)) == len(values) else None)


def _annotated(
    record: Mapping[str, Any], columns: Columns, number: int, where: str, counts: Counter[str]
) -> AnnotatedText:
    text = record[columns.text]
    if not isinstance(text, str):
        kind = "empty" if text is None else f"of the type {type(text).__name__}"
        raise UserError(f"{where}: {columns.text} is {kind}; expected a text")
    identifier = read_identifier(record, columns.id, where) if columns.id else str(number)
    usual = (one for one in _SPANS if (one == "spans" and one in record) or _holds_spans(record.get(one)))
    column = columns.spans or next(usual, None)
    values = _as_list(record[column], column, where) if column else []
    spans: list[Span] = []
    index: dict[str, int] = {}
    for value in values:
        at = f"{where}: span {len(spans) + 1:,}"
        start, end, kind, key = _fields(value, at)
        mark = Mark([(whole_number(start, at, "its start"), whole_number(end, at, "its end"))], None, at)
        check_mark(text, mark)
        index.setdefault(str(key), len(spans))
        spans.append(covering_span(mark, type_name(kind, at, "its type")))
    relations = list(_relations(record.get("relations"), index, counts))
    return AnnotatedText(identifier, text, spans, None, where, relations)


def _usual_column(records: Sequence[Mapping[str, Any]]) -> str | None:
    """The column of usual name whose values are lists of spans."""
    for name in _SPANS:
        values = [record.get(name) for record in records]
        if any(map(_holds_spans, values)) or all(value == [] for value in values):
            return name
    return None


def _relations(value: Any, index: Mapping[str, int], counts: Counter[str]) -> Iterator[Relation]:
    """doccano's: objects with `from_id`, `to_id` and `type`."""
    for item in value if isinstance(value, list) else []:
        ends = (
            [index.get(str(item.get(key))) for key in ("from_id", "to_id")] if isinstance(item, dict) else [None, None]
        )
        if ends[0] is None or ends[1] is None:
            counts["relations of other spans, left out"] += 1
        else:
            yield Relation(str(item.get("type") or "relation"), ends[0], ends[1])


def _holds_spans(value: Any) -> bool:
    """Whether a value is a list of spans that is not empty, as it is or as JSON."""
    if isinstance(value, str) and value.lstrip().startswith("[") and value.rstrip().endswith("]"):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return False
    return isinstance(value, list) and bool(value) and all(_is_span(one) for one in value)


def _is_span(value: Any) -> bool:
    if isinstance(value, dict):
        return any(set(keys) <= value.keys() for keys in _KEYS)
    return isinstance(value, list) and len(value) == 3 and all(isinstance(one, int | float) for one in value[:2])


def _as_list(value: Any, name: str, where: str) -> list[Any]:
    if isinstance(value, str) and value.strip():
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise UserError(f'{where}: {name} is not JSON; expected a list such as [[0, 7, "Disease"]]') from None
    if value is None or value == "":
        return []
    if not isinstance(value, list):
        kind = type(value).__name__
        raise UserError(f'{where}: {name} is of the type {kind}; expected a list such as [[0, 7, "Disease"]]')
    return value


def _fields(value: Any, where: str) -> tuple[Any, Any, Any, Any]:
    """The start, the end, the type and the id of a span."""
    if isinstance(value, dict):
        for keys in _KEYS:
            if set(keys) <= value.keys():
                return value[keys[0]], value[keys[1]], value[keys[2]], value.get("id")
    if isinstance(value, list) and len(value) == 3:
        return value[0], value[1], value[2], None
    raise UserError(f"{where} is not one; expected [start, end, type], or an object with start, end and type")


def _as_values(text: AnnotatedText, as_lists: bool) -> list[Any]:
    """The spans as lists, or as objects: with an id if relations need it, and in Parquet, whose lists have one type."""
    if text.relations and as_lists:
        return [
            {"id": number, "start_offset": span.start, "end_offset": span.end, "label": span.type}
            for number, span in enumerate(text.spans)
        ]
    return [list(span) if as_lists else span._asdict() for span in text.spans]


def _write_records(records: Sequence[dict[str, Any]], spans: str, target: Path) -> None:
    form = table_form(target)
    names = list(dict.fromkeys(name for record in records for name in record))
    if form == "lines":
        lines = (json.dumps(record, ensure_ascii=False, default=str) + "\n" for record in records)
        atomic_write(target, "".join(lines))
    elif form == "parquet":
        _write_parquet(records, spans, target)
    elif form == "csv":
        rows = [[_cell(record.get(name), name == spans) for name in names] for record in records]
        tabs = target.suffix.lower() == ".tsv"
        broken = [number for number, row in enumerate(rows, start=1) if any(_BREAKS.search(cell) for cell in row)]
        if tabs and broken:
            raise UserError(
                f"{target}: record {broken[0]:,} has a tab or a line break, which .tsv cannot hold; write .csv"
            )
        lines = ("\t".join(row) if tabs else ",".join(map(_quoted, row)) for row in [names, *rows])
        atomic_write(target, "".join(f"{line}\n" for line in lines))
    else:
        raise UserError(f"{target}: not a table; expected .csv, .tsv, .jsonl, .ndjson or .parquet")


def _quoted(cell: str) -> str:
    """A cell of CSV. The module csv leaves a lone carriage return unquoted, unless lines end in one."""
    return '"' + cell.replace('"', '""') + '"' if _SPECIAL.search(cell) else cell


def _cell(value: Any, is_spans: bool) -> str:
    if is_spans:
        value = [list(span.values()) for span in value]
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False, default=str)


def _write_parquet(records: Sequence[dict[str, Any]], spans: str, target: Path) -> None:
    try:
        arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        raise UserError(f"{target}: writing Parquet needs pyarrow; run `pip install pyarrow`") from error
    columns = {name: [record.get(name) for record in records] for name in records[0] if name != spans}
    kind = arrow.list_(arrow.struct([("start", arrow.int64()), ("end", arrow.int64()), ("type", arrow.string())]))
    table = arrow.table({**columns, spans: arrow.array([record[spans] for record in records], kind)})
    with stage_file(target) as staging:
        parquet.write_table(table, staging)
