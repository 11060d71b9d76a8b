"""BRAT standoff: a text (.txt) and its annotations (.ann), one per line. https://brat.nlplab.org/standoff.html

Spans (T) and relations between them (R) are read. Discontinuous spans become one, from the first to the last character.
Events, attributes, normalizations, notes and equivalences are counted.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...configs.errors import UserError
from .annotated.files import read_utf8
from .annotated.offsets import Mark, check_mark, covering_span, fitting_text
from .annotated.pairs import Pair, find_pairs, write_pairs
from .annotated.text import AnnotatedText, Columns, Relation, pair_with_source, single_line, single_token

SUFFIX = ".ann"
_MARK = "\ufeff"
_SPAN = re.compile(r"(T[^\t]*)\t([^\t]*\S) (\d{1,12} \d{1,12}(?:;\d{1,12} \d{1,12})*)\s*(?:\t(.*))?")
_RELATION = re.compile(r"R[^\t]*\t(\S+)\s+[^\s:]+:(\S+)\s+[^\s:]+:(\S+)\s*")
_OTHERS = {
    "E": "events, left out",
    "A": "attributes, left out",
    "M": "attributes, left out",
    "N": "normalizations, left out",
    "#": "notes, left out",
    "*": "equivalences, left out",
}


def read(path: Path, columns: Columns, counts: Counter[str]) -> Iterator[AnnotatedText]:
    """The documents of a directory, or of one .txt or .ann file. A text without .ann file has no spans."""
    for pair in find_pairs(path, SUFFIX):
        if path.is_dir() and pair.annotations is None:
            counts["texts without annotations"] += 1
        yield _read_document(pair, counts)


def write(
    texts: Sequence[AnnotatedText], target: Path, source: Path | None, columns: Columns, counts: Counter[str]
) -> None:
    """Write a directory, or the files of one text. With a source, the bytes of its texts are copied."""
    originals = None
    if source:
        pairs = find_pairs(source, SUFFIX)
        read_again = [_read_document(pair, Counter()) for pair in pairs]
        matched = list(pair_with_source(texts, read_again, source))
        originals = {text.id: pair.text for (text, _), pair in zip(matched, pairs, strict=True)}
    write_pairs(texts, target, originals, lambda text: {SUFFIX: _render(text)})


def _render(text: AnnotatedText) -> str:
    lines = []
    for number, span in enumerate(text.spans, start=1):
        covered = single_line(text.text[span.start : span.end])
        lines.append(f"T{number}\t{single_token(span.type)} {span.start} {span.end}\t{covered}\n")
    lines += [
        f"R{number}\t{single_token(relation.type)} Arg1:T{relation.first + 1} Arg2:T{relation.second + 1}\t\n"
        for number, relation in enumerate(text.relations, start=1)
    ]
    return "".join(lines)


def _read_document(pair: Pair, counts: Counter[str]) -> AnnotatedText:
    """A document; its text has the line ends and the mark with which the offsets are right."""
    where = str(pair.annotations or pair.text)
    marks: dict[str, Mark] = {}
    types: list[str] = []
    relations: list[tuple[str, str, str, str]] = []
    others: set[str] = set()
    content = read_utf8(pair.annotations).removeprefix(_MARK) if pair.annotations else ""
    for number, line in enumerate(content.split("\n"), start=1):
        line, at = line.rstrip("\r"), f"{where}: line {number:,}"
        if line.startswith("T"):
            if not (match := _SPAN.fullmatch(line)):
                raise UserError(f"{at}: not a span; expected an id such as T1, a tab, TYPE START END, a tab, its text")
            if match[1] in marks:
                raise UserError(f"{at}: another span of the file has this id; ids are unique")
            pieces = [(int(piece.split()[0]), int(piece.split()[1])) for piece in match[3].split(";")]
            marks[match[1]] = Mark(pieces, match[4], at)
            types.append(match[2])
            counts["discontinuous spans, read from their first to their last character"] += len(pieces) > 1
        elif line.startswith("R"):
            if not (related := _RELATION.fullmatch(line)):
                raise UserError(f"{at}: not a relation; expected an id such as R1, a tab, TYPE Arg1:T1 Arg2:T2")
            relations.append((related[1], related[2], related[3], at))
        elif line[:1] in _OTHERS:
            counts[_OTHERS[line[0]]] += 1
            others.add(line.split("\t")[0])
        elif line.strip():
            raise UserError(f"{at}: not an annotation; expected a line that begins with T, R, E, A, M, N, # or *")
    text = _text(pair.text, list(marks.values()))
    for mark in marks.values():
        check_mark(text, mark)
    spans = [covering_span(mark, kind) for mark, kind in zip(marks.values(), types, strict=True)]
    return AnnotatedText(pair.id, text, spans, None, where, _relations(relations, list(marks), others, counts))


def _text(path: Path, marks: Sequence[Mark]) -> str:
    """Offsets may count a line end of two characters as two or as one, and a byte order mark or not."""
    raw = read_utf8(path)
    plain = raw.removeprefix(_MARK)
    candidates = [plain, raw, plain.replace("\r\n", "\n"), raw.replace("\r\n", "\n")]
    return fitting_text(list(dict.fromkeys(candidates)), marks)


def _relations(
    found: Sequence[tuple[str, str, str, str]], ids: Sequence[str], others: set[str], counts: Counter[str]
) -> list[Relation]:
    index = {name: number for number, name in enumerate(ids)}
    relations = []
    for kind, first, second, at in found:
        if first in index and second in index:
            relations.append(Relation(kind, index[first], index[second]))
        elif {first, second} <= index.keys() | others:
            counts["relations of events, left out"] += 1
        else:
            raise UserError(f"{at}: a relation of an annotation that is not in the file; add it, or remove the line")
    return relations
