"""i2b2 of 2010: a text (.txt), its concepts (.con) and relations (.rel), by line from 1 and token in the line from 0.

    c="chest pain" 15:2 15:3||t="problem"
    c="aspirin" 16:0 16:0||r="TrAP"||c="chest pain" 15:2 15:3

The challenge has them in directories `txt`, `concept` and `rel`. Assertions (.ast) are counted.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from ...configs.errors import UserError
from .annotated.files import read_utf8
from .annotated.pairs import Pair, find_pairs, write_pairs
from .annotated.text import AnnotatedText, Columns, Relation, Span, pair_with_source, single_line
from .words import chunks_in

SUFFIX = ".con"
_CONCEPT = r'c="(.*)" (\d{1,9}):(\d{1,9}) (\d{1,9}):(\d{1,9})'
_LINE = re.compile(rf'{_CONCEPT}\|\|t="([^"]+)"\s*')
_RELATION = re.compile(rf'{_CONCEPT}\|\|r="([^"]+)"\|\|{_CONCEPT}\s*')

_TOKEN = re.compile(r"\S+")
_BETWEEN_SPACES = re.compile(r"(?:(?<= )|^)[^ ]*")
"""Tokens of programs that split at each space: two spaces have an empty token between them."""

Lines = list[list[tuple[int, int]]]
"""The characters [start, end) of the tokens of each line."""


class _Concept(NamedTuple):
    """A concept of a file: (line, token) of its first and last token."""

    covered: str
    first: tuple[int, int]
    last: tuple[int, int]
    where: str


def read(path: Path, columns: Columns, counts: Counter[str]) -> Iterator[AnnotatedText]:
    """The documents of a directory, or of one file. A text without .con file has no spans."""
    for pair in find_pairs(path, SUFFIX):
        if path.is_dir() and pair.annotations is None:
            counts["texts without annotations"] += 1
        yield _read_document(pair, path, counts)
    if path.is_dir():
        counts["files of assertions, left out"] += sum(1 for _ in path.rglob("*.ast"))


def write(
    texts: Sequence[AnnotatedText], target: Path, source: Path | None, columns: Columns, counts: Counter[str]
) -> None:
    """Write a directory, or the files of one text. With a source, the bytes of its texts are copied."""
    originals = None
    if source:
        pairs = find_pairs(source, SUFFIX)
        read_again = [_read_document(pair, source, Counter()) for pair in pairs]
        matched = list(pair_with_source(texts, read_again, source))
        originals = {text.id: pair.text for (text, _), pair in zip(matched, pairs, strict=True)}
    first = Counter[str]()  # each text is rendered more than once
    for text in texts:
        _render(text, first)
    counts.update(first)
    write_pairs(texts, target, originals, lambda text: _render(text, Counter()))


def _render(text: AnnotatedText, counts: Counter[str]) -> dict[str, str]:
    lines = _tokens(text.text, _TOKEN)
    words = [token for line in lines for token in line]
    positions = [(number, token) for number, line in enumerate(lines, start=1) for token in range(len(line))]
    chunks, off_borders, overlapping = chunks_in(words, text.spans)
    counts["spans off the borders of tokens, extended to complete tokens"] += off_borders
    counts["spans that overlap a longer one, left out"] += overlapping
    concepts: dict[Span, str] = {}
    for chunk in chunks:
        span = Span(words[chunk.start][0], words[chunk.end - 1][1], chunk.type)
        (line, token), (last_line, last_token) = positions[chunk.start], positions[chunk.end - 1]
        covered = single_line(text.text[span.start : span.end]).lower()
        concepts[span] = f'c="{covered}" {line}:{token} {last_line}:{last_token}'
    files = {SUFFIX: "".join(f'{concept}||t="{_quoted(span.type)}"\n' for span, concept in concepts.items())}
    related = []
    for relation in text.relations:
        ends = [_concept_of(text.spans[number], concepts) for number in (relation.first, relation.second)]
        if all(ends):
            related.append(f'{ends[0]}||r="{_quoted(relation.type)}"||{ends[1]}\n')
        else:
            counts["relations of spans that are left out"] += 1
    return {**files, ".rel": "".join(related)} if related else files


def _concept_of(span: Span, concepts: Mapping[Span, str]) -> str | None:
    """The concept that a span was written as, which may be longer."""
    holders = (
        concept for one, concept in concepts.items() if one.start <= span.start < one.end and one.type == span.type
    )
    return next(holders, None)


def _quoted(name: str) -> str:
    return single_line(name).replace('"', "'")


def _read_document(pair: Pair, root: Path, counts: Counter[str]) -> AnnotatedText:
    text = read_utf8(pair.text).removeprefix("\ufeff")
    where = str(pair.annotations or pair.text)
    concepts: list[_Concept] = []
    types: list[str] = []
    for match, at in _matches(pair.annotations, _LINE, 'c="..." LINE:TOKEN LINE:TOKEN||t="TYPE"'):
        concepts.append(_concept(match, 0, at))
        types.append(match[6])
    tables = [_tokens(text, _TOKEN), _tokens(text, _BETWEEN_SPACES)]
    lines = next((lines for lines in tables if all(_fits(text, lines, one) for one in concepts)), tables[0])
    spans = []
    for concept, kind in zip(concepts, types, strict=True):
        if not _fits(text, lines, concept):
            raise UserError(
                f"{concept.where}: tokens {concept.first} to {concept.last} (line, token) of {pair.text} are not those "
                "that it repeats; expected lines from 1 and tokens from 0"
            )
        spans.append(Span(*_characters(lines, concept), kind))
    words = [token for line in lines for token in line if token[0] < token[1]]
    relations = _relations(pair, root, text, lines, spans, counts)
    return AnnotatedText(pair.id, text, spans, words, where, relations)


def _relations(
    pair: Pair, root: Path, text: str, lines: Lines, spans: Sequence[Span], counts: Counter[str]
) -> list[Relation]:
    index = {(span.start, span.end): number for number, span in reversed(list(enumerate(spans)))}
    same_name = [*root.rglob(f"{pair.text.stem}.rel")] if root.is_dir() else [pair.text.with_suffix(".rel")]
    relations = []
    for path in same_name if len(same_name) == 1 and same_name[0].is_file() else []:
        for match, at in _matches(path, _RELATION, 'c="..." LINE:TOKEN LINE:TOKEN||r="TYPE"||c="..." ...'):
            ends = [_concept(match, 0, at), _concept(match, 6, at)]
            numbers = [index.get(_characters(lines, one)) if _fits(text, lines, one) else None for one in ends]
            if numbers[0] is None or numbers[1] is None:
                counts["relations of tokens without a concept, left out"] += 1
            else:
                relations.append(Relation(match[6], numbers[0], numbers[1]))
    return relations


def _matches(path: Path | None, pattern: re.Pattern[str], expected: str) -> Iterator[tuple[re.Match[str], str]]:
    content = read_utf8(path).removeprefix("\ufeff") if path else ""
    for number, line in enumerate(content.split("\n"), start=1):
        match = pattern.fullmatch(line.rstrip("\r"))
        if match:
            yield match, f"{path}: line {number:,}"
        elif line.strip():
            raise UserError(f"{path}: line {number:,}: not as expected, {expected}")


def _concept(match: re.Match[str], before: int, where: str) -> _Concept:
    """The concept whose groups follow `before` others."""
    line, token, last_line, last_token = (int(match[before + number]) for number in range(2, 6))
    return _Concept(match[before + 1], (line, token), (last_line, last_token), where)


def _tokens(text: str, pattern: re.Pattern[str]) -> Lines:
    tokens, start = [], 0
    for line in text.split("\n"):
        found = pattern.finditer(line.rstrip("\r"))
        tokens.append([(start + match.start(), start + match.end()) for match in found])
        start += len(line) + 1
    return tokens


def _characters(lines: Lines, concept: _Concept) -> tuple[int, int]:
    (line, token), (last_line, last_token) = concept.first, concept.last
    return lines[line - 1][token][0], lines[last_line - 1][last_token][1]


def _fits(text: str, lines: Lines, concept: _Concept) -> bool:
    """Whether the tokens are in the text and are those that the line repeats, which are in lower case."""
    for line, token in (concept.first, concept.last):
        if not 1 <= line <= len(lines) or token >= len(lines[line - 1]):
            return False
    start, end = _characters(lines, concept)
    return start < end and text[start:end].lower().split() == concept.covered.lower().split()
