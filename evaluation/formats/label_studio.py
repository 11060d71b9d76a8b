"""Label Studio: exports in JSON (tasks with annotations or predictions) and JSON-MIN (tasks with labels).

Written are tasks with predictions, which Label Studio imports; a task of JSON-MIN stays one.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...configs.errors import UserError
from ...storage.files import atomic_write
from .annotated.files import read_json_values
from .annotated.offsets import Mark, check_mark, covering_span, from_utf16, is_right, type_name, whole_number
from .annotated.text import AnnotatedText, Columns, Relation, Span, pair_with_source, replace_surrogates

_MODEL = "clinical_modernbert"


def read(path: Path, columns: Columns, counts: Counter[str]) -> Iterator[AnnotatedText]:
    """The tasks of a file. Of several annotations of a task the first that was not cancelled is read."""
    for number, task in enumerate(_tasks(path), start=1):
        yield _annotated(task, columns, number, f"{path}: task {number:,}", counts)


def write(
    texts: Sequence[AnnotatedText], target: Path, source: Path | None, columns: Columns, counts: Counter[str]
) -> None:
    """Write tasks with predictions. Of a source, the data of each task is kept, its annotations are not."""
    tasks = _tasks(source) if source else [{"id": text.id, "data": {columns.text: text.text}} for text in texts]
    if source:
        originals = [
            _annotated(task, columns, n, f"{source}: task {n:,}", Counter()) for n, task in enumerate(tasks, 1)
        ]
        list(pair_with_source(texts, originals, source))
    written = []
    for text, task in zip(texts, tasks, strict=True):
        regions = [_region(text.text, span) for span in text.spans]
        if "data" in task:
            result = [
                {"id": f"s{number}", "from_name": "label", "to_name": "text", "type": "labels", "value": region}
                for number, region in enumerate(regions)
            ]
            result += [
                {
                    "type": "relation",
                    "from_id": f"s{relation.first}",
                    "to_id": f"s{relation.second}",
                    "direction": "right",
                    "labels": [relation.type],
                }
                for relation in text.relations
            ]
            kept = {key: value for key, value in task.items() if key in ("id", "data", "meta")}
            written.append({**kept, "predictions": [{"model_version": _MODEL, "result": result}]})
        else:
            kept = {key: value for key, value in task.items() if not _is_regions(value)}
            written.append({**kept, "label": regions})
    atomic_write(target, json.dumps(written, ensure_ascii=False, indent=1) + "\n")


def holds_tasks(value: Any) -> bool:
    """Whether a JSON value is an export of Label Studio."""
    first = value[0] if isinstance(value, list) and value else None
    return isinstance(first, dict) and ("data" in first or any(_is_regions(one) for one in first.values()))


def _tasks(path: Path) -> list[dict[str, Any]]:
    value = read_json_values(path)
    if not isinstance(value, list) or not value or not all(isinstance(task, dict) for task in value):
        raise UserError(f"{path}: not an export of Label Studio; expected a list of tasks (JSON or JSON-MIN)")
    return value


def _is_regions(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) and "start" in one for one in value)


def _region(text: str, span: Span) -> dict[str, Any]:
    """A region, in UTF-16 units as Label Studio, which runs in a browser, counts them."""
    start, end = (len(text[:offset].encode("utf-16-le")) // 2 for offset in (span.start, span.end))
    return {"start": start, "end": end, "text": text[span.start : span.end], "labels": [span.type]}


def _annotated(
    task: Mapping[str, Any], columns: Columns, number: int, where: str, counts: Counter[str]
) -> AnnotatedText:
    data = task.get("data", task)
    value = data.get(columns.text) if isinstance(data, dict) else None
    if not isinstance(value, str):
        raise UserError(f"{where}: has no text `{columns.text}` in its data; name the key of the text")
    text = replace_surrogates(value)
    identifier = task.get(columns.id or "id", number)
    spans: list[Span] = []
    index: dict[str, int] = {}
    relations: list[Mapping[str, Any]] = []
    for item in _results(task, where, counts):
        at = f"{where}: region {len(spans) + 1:,}"
        if item.get("type") == "relation":
            relations.append(item)
        elif not isinstance(item.get("value"), dict) or not isinstance(names := _names(item["value"]), list):
            counts["results without labels of characters, left out"] += 1
        else:
            mark = _mark(text, item["value"], at)
            check_mark(text, mark)
            if isinstance(item.get("id"), str):
                index.setdefault(item["id"], len(spans))
            spans += [covering_span(mark, type_name(name, at, "its label")) for name in names]
    return AnnotatedText(str(identifier), text, spans, None, where, list(_relations(relations, index, counts)))


def _results(task: Mapping[str, Any], where: str, counts: Counter[str]) -> list[dict[str, Any]]:
    """The results of a task: of its first annotation, else of its first prediction; or the regions of JSON-MIN."""
    if "data" not in task:
        values = (value for value in task.values() if _is_regions(value))
        return [{"type": "labels", "value": region} for region in next(values, [])]
    for kind in ("annotations", "predictions"):
        found = task.get(kind)
        made = (
            [one for one in found if isinstance(one, dict) and not one.get("was_cancelled")]
            if isinstance(found, list)
            else []
        )
        if made:
            counts[f"further {kind} of a task, left out"] += len(made) - 1
            result = made[0].get("result")
            if not isinstance(result, list) or not all(isinstance(item, dict) for item in result):
                raise UserError(f"{where}: its {kind} have no list `result`; export the tasks again")
            return result
    return []


def _names(value: Mapping[str, Any]) -> Any:
    """The labels of a region of characters; None for one of another kind."""
    return value.get("labels") if "start" in value and "end" in value else None


def _mark(text: str, value: Mapping[str, Any], where: str) -> Mark:
    """The region in characters: in UTF-16 units first, and as it is if only so it covers the text that it repeats."""
    start, end = whole_number(value["start"], where, "start"), whole_number(value["end"], where, "end")
    covered = value.get("text")
    covered = replace_surrogates(covered) if isinstance(covered, str) else None
    units = Mark([(from_utf16(text, start), from_utf16(text, end))], covered, where)
    plain = Mark([(start, end)], covered, where)
    return plain if text.isascii() or (is_right(text, plain) and not is_right(text, units)) else units


def _relations(
    found: Sequence[Mapping[str, Any]], index: Mapping[str, int], counts: Counter[str]
) -> Iterator[Relation]:
    for item in found:
        ends = [index.get(str(item.get(key))) for key in ("from_id", "to_id")]
        if ends[0] is None or ends[1] is None:
            counts["relations of other results, left out"] += 1
        else:
            names = item.get("labels") or ["relation"]
            yield Relation(str(names[0]) if isinstance(names, list) else "relation", ends[0], ends[1])
