"""BioC collections in JSON or XML: passages with offsets, annotations with locations, relations of annotations.

Both are one structure, which `annotated/bioc_xml.py` reads from XML. Passages, or their sentences, are put at their
offsets in the text of the document; gaps become line breaks between passages and spaces between sentences.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

from ...configs.errors import UserError
from ...configs.json_text import first_problem
from ...storage.files import atomic_write
from .annotated.files import read_json_values
from .annotated.offsets import Mark, check_mark, covering_span, type_name
from .annotated.text import AnnotatedText, Columns, Relation, Span, pair_with_source, replace_surrogates

_LARGEST_GAP = 1 << 20


class _Part(BaseModel):
    model_config = ConfigDict(coerce_numbers_to_str=True)


class _Location(_Part):
    offset: NonNegativeInt
    length: NonNegativeInt


class _Annotation(_Part):
    id: str | None = None
    infons: dict[str, Any] = {}
    text: str | None = None
    locations: list[_Location] = []


class _Node(_Part):
    refid: str
    role: str | None = None


class _Relation(_Part):
    infons: dict[str, Any] = {}
    nodes: list[_Node] = []


class _Level(_Part):
    """What documents, passages and sentences have in common."""

    annotations: list[_Annotation] = []
    relations: list[_Relation] = []


class _Sentence(_Level):
    offset: NonNegativeInt
    text: str | None = None


class _Passage(_Sentence):
    sentences: list[_Sentence] = []


class _Document(_Level):
    id: str
    passages: list[_Passage] = []


def read(path: Path, columns: Columns, counts: Counter[str]) -> Iterator[AnnotatedText]:
    """The documents of a collection."""
    for number, document in enumerate(_documents(path, _load(path)), start=1):
        yield _annotated(document, f"{path}: document {number:,}", counts)


def write(
    texts: Sequence[AnnotatedText], target: Path, source: Path | None, columns: Columns, counts: Counter[str]
) -> None:
    """Write a collection, as XML if the target is named so. A source gives all but the annotations and relations."""
    if source:
        collection = _load(source)
        documents = _documents(source, collection)
        originals = [
            _annotated(document, f"{source}: document {n:,}", Counter()) for n, document in enumerate(documents, 1)
        ]
        for (text, _), document in zip(pair_with_source(texts, originals, source), documents, strict=True):
            _replace_annotations(document, text)
    else:
        collection = {
            "source": "",
            "date": "",
            "key": "",
            "infons": {},
            "documents": [_document(text) for text in texts],
        }
    if target.suffix.lower() == ".xml":
        from .annotated.bioc_xml import collection_xml

        documents = _documents(target, collection)
        header = collection if isinstance(collection, dict) and "documents" in collection else {}
        atomic_write(target, collection_xml({**header, "documents": documents}, str(target)))
    else:
        atomic_write(target, json.dumps(collection, ensure_ascii=False, indent=1) + "\n")


def holds_documents(value: Any) -> bool:
    """Whether a JSON value is a collection, a document, or a list of either."""
    first = value[0] if isinstance(value, list) and value else value
    return isinstance(first, dict) and bool({"documents", "passages", "PubTator3"} & first.keys())


def _load(path: Path) -> Any:
    if path.name.lower().removesuffix(".gz").endswith(".xml"):
        from .annotated.bioc_xml import read_collection

        return read_collection(path)
    return read_json_values(path)


def _documents(path: Path, value: Any) -> list[dict[str, Any]]:
    """The documents of a collection, of several, of PubTator 3's answer, of a list, or one alone."""
    if isinstance(value, dict):
        inner = value.get("documents", value.get("PubTator3"))
        found = [value] if inner is None else inner
    else:
        found = value
    if isinstance(found, list) and any(isinstance(one, dict) and "documents" in one for one in found):
        found = [document for one in found for document in _documents(path, one)]
    if (
        not isinstance(found, list)
        or not found
        or not all(isinstance(one, dict) and "passages" in one for one in found)
    ):
        raise UserError(f"{path}: not a BioC collection; expected `documents`, each with `id` and `passages`")
    return found


def _annotated(raw: dict[str, Any], where: str, counts: Counter[str]) -> AnnotatedText:
    try:
        document = _Document.model_validate(raw)
    except ValidationError as error:
        raise UserError(f"{where}: {first_problem(error)}; expected a document of BioC") from None
    text = _text(document, where)
    levels: list[_Level] = [document]
    for passage in document.passages:
        levels += [passage, *passage.sentences]
    spans: list[Span] = []
    index: dict[str, int] = {}
    for number, annotation in enumerate((one for level in levels for one in level.annotations), start=1):
        at = f"{where}: annotation {number:,}"
        if not annotation.locations:
            counts["annotations without location, left out"] += 1
            continue
        covered = None if annotation.text is None else replace_surrogates(annotation.text)
        pieces = [(location.offset, location.offset + location.length) for location in annotation.locations]
        mark = Mark(pieces, covered, at)
        check_mark(text, mark)
        counts["discontinuous spans, read from their first to their last character"] += len(pieces) > 1
        if annotation.id is not None:
            index.setdefault(annotation.id, len(spans))
        spans.append(covering_span(mark, type_name(annotation.infons.get("type"), at, "its infon `type`")))
    relations = []
    for relation in (one for level in levels for one in level.relations):
        ends = [index[node.refid] for node in relation.nodes if node.refid in index]
        if len(ends) == len(relation.nodes) == 2:
            kind = relation.infons.get("type") or relation.infons.get("relation") or "relation"
            relations.append(Relation(str(kind), *ends))
        else:
            counts["relations of other than two spans, left out"] += 1
    return AnnotatedText(document.id, text, spans, None, where, relations)


def _text(document: _Document, where: str) -> str:
    text = ""
    for number, passage in enumerate(document.passages, start=1):
        alone = passage.text is not None or not passage.sentences
        for part in [passage] if alone else passage.sentences:
            gap = part.offset - len(text)
            if not 0 <= gap <= _LARGEST_GAP:
                raise UserError(
                    f"{where}: passage {number:,} begins at {part.offset:,}, and the text before it ends at "
                    f"{len(text):,}; expected ascending offsets in characters"
                )
            first = alone or part is passage.sentences[0]
            text += ("\n" if first else " ") * gap + replace_surrogates(part.text or "")
    return text


def _document(text: AnnotatedText) -> dict[str, Any]:
    passage: dict[str, Any] = {"offset": 0, "infons": {}, "text": text.text, "annotations": []}
    document: dict[str, Any] = {"id": text.id, "infons": {}, "passages": [passage], "relations": []}
    _replace_annotations(document, text)
    return document


def _replace_annotations(document: dict[str, Any], text: AnnotatedText) -> None:
    """Put each span into the passage or sentence in which it begins. Every list is there, as other programs expect."""
    levels = list(document["passages"])
    for passage in document["passages"]:
        levels += passage.setdefault("sentences", [])
    for level in levels:
        level.setdefault("infons", {})
        level["annotations"], level["relations"] = [], []
    document["annotations"] = []
    holders = sorted((level for level in levels if not level.get("sentences")), key=_offset)
    for number, span in enumerate(text.spans):
        holder = next((level for level in reversed(holders) if _offset(level) <= span.start), None)
        annotation = {
            "id": f"T{number}",
            "infons": {"type": span.type},
            "text": text.text[span.start : span.end],
            "locations": [{"offset": span.start, "length": span.end - span.start}],
        }
        (holder or document)["annotations"].append(annotation)
    document["relations"] = [
        {
            "id": f"R{number}",
            "infons": {"type": relation.type},
            "nodes": [{"refid": f"T{relation.first}", "role": ""}, {"refid": f"T{relation.second}", "role": ""}],
        }
        for number, relation in enumerate(text.relations)
    ]


def _offset(level: dict[str, Any]) -> int:
    return int(float(level["offset"]))
