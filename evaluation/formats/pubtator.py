"""PubTator: `ID|t|title`, `ID|a|abstract`, then a line per span and per relation, columns separated by tabs.

Offsets are over the title, one line break and the abstract. Relations are between concepts; they are read as between
the first spans of the two concepts.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...configs.errors import UserError
from ...configs.limits import RECORD_CHARACTERS
from ...storage.files import atomic_write
from ...streaming_data.documents.bounded import bounded_lines
from ...streaming_data.documents.files import explain_read_errors, open_text
from .annotated.offsets import Mark, check_mark, covering_span, type_name, whole_number
from .annotated.text import AnnotatedText, Columns, Relation, Span, single_line

TEXT = re.compile(r"([^|\t]+)\|([ta])\|(.*)", re.DOTALL)
_CONCEPTS = re.compile(r"[|,;]")
_NO_CONCEPT = {"", "-", "-1"}
_BREAKS = re.compile(r"[\r\n]")
_EXPECTED = "ID, start, end, text, type and concept for a span, or ID, type and two concepts for a relation"


class _Document:
    """A document while its lines are read."""

    def __init__(self, id: str, title: str, where: str) -> None:
        self.id = id
        self.text = title
        self.where = where
        self.has_abstract = False
        self.spans: list[Span] = []
        self.concepts: dict[str, int] = {}
        self.relations: list[tuple[str, str, str]] = []

    def annotated(self, counts: Counter[str]) -> AnnotatedText:
        """The document. Concepts serve relations only: those without a relation or without a span are counted."""
        relations = []
        related = {concept for _, *pair in self.relations for concept in pair}
        counts["concepts without a relation, left out"] += len(self.concepts.keys() - related - _NO_CONCEPT)
        for kind, first, second in self.relations:
            if first in self.concepts and second in self.concepts:
                relations.append(Relation(kind, self.concepts[first], self.concepts[second]))
            else:
                counts["relations of concepts without a span, left out"] += 1
        return AnnotatedText(self.id, self.text, self.spans, None, self.where, relations)


def read(path: Path, columns: Columns, counts: Counter[str]) -> Iterator[AnnotatedText]:
    """The documents of a file."""
    document: _Document | None = None
    number = 0
    with open_text(path) as file, explain_read_errors(path, lambda: f"line {number}"):
        for number, line in enumerate(bounded_lines(path, file, RECORD_CHARACTERS), start=1):
            line, where = line.rstrip("\r\n"), f"{path}: line {number:,}"
            text = TEXT.fullmatch(line)
            if text and text[2] == "t":
                if document:
                    yield document.annotated(counts)
                document = _Document(text[1], text[3], where)
            elif not line.strip():
                continue
            elif document is None:
                raise UserError(f"{where}: not the title of a document; expected ID|t|title")
            elif text:
                if text[1] != document.id or document.has_abstract or document.spans:
                    raise UserError(
                        f"{where}: an abstract that does not follow its title; expected ID|a|abstract there"
                    )
                document.has_abstract = True
                document.text += f"\n{text[3]}"
            else:
                _add_line(document, line.split("\t"), where, counts)
    if document is None:
        raise UserError(f"{path}: no documents; expected ID|t|title and ID|a|abstract")
    yield document.annotated(counts)


def write(
    texts: Sequence[AnnotatedText], target: Path, source: Path | None, columns: Columns, counts: Counter[str]
) -> None:
    """Write the documents. The first line is the title; further line breaks become spaces, so offsets stay right."""
    lines: list[str] = []
    for text in texts:
        if not TEXT.fullmatch(f"{text.id}|t|") or _BREAKS.search(text.id):
            raise UserError(f"{text.where}: its identifier has a |, a tab or a line break; PubTator cannot hold it")
        title, line_break, abstract = text.text.partition("\n")
        counts["line breaks, written as spaces"] += len(_BREAKS.findall(title + abstract))
        lines.append(f"{text.id}|t|{_BREAKS.sub(' ', title)}\n")
        lines += [f"{text.id}|a|{_BREAKS.sub(' ', abstract)}\n"] if line_break else []
        related = {number for relation in text.relations for number in (relation.first, relation.second)}
        for number, span in enumerate(text.spans):
            concept = f"M{number}" if number in related else "-"
            covered = single_line(text.text[span.start : span.end])
            fields = [text.id, str(span.start), str(span.end), covered, single_line(span.type), concept]
            lines.append("\t".join(fields) + "\n")
        for relation in text.relations:
            lines.append("\t".join([text.id, single_line(relation.type), f"M{relation.first}", f"M{relation.second}"]))
            lines.append("\n")
        lines.append("\n")
    atomic_write(target, "".join(lines))


def _add_line(document: _Document, fields: Sequence[str], where: str, counts: Counter[str]) -> None:
    if fields[0] != document.id:
        raise UserError(f"{where}: the line has another ID than the title before it; expected {_EXPECTED}")
    if len(fields) >= 5 and fields[1].isdigit() and fields[2].isdigit():
        start, end = whole_number(fields[1], where, "the start"), whole_number(fields[2], where, "the end")
        mark = Mark([(start, end)], fields[3], where)
        check_mark(document.text, mark)
        for concept in _CONCEPTS.split(fields[5]) if len(fields) > 5 else []:
            document.concepts.setdefault(concept, len(document.spans))
        document.spans.append(covering_span(mark, type_name(fields[4], where, "the type")))
        counts["parts of composite spans, left out"] += len(fields) > 6
    elif len(fields) in (4, 5) and not fields[2].isdigit():
        document.relations.append((type_name(fields[1], where, "the type"), fields[2], fields[3]))
    else:
        raise UserError(f"{where}: {len(fields)} columns that are no span and no relation; expected {_EXPECTED}")
