"""Annotated texts: spans with types, and relations between them. BRAT's directories of .txt and .ann files are read."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ...configs.errors import UserError


class Span(NamedTuple):
    """Characters [start, end) of a text, and their type."""

    start: int
    end: int
    type: str


class Relation(NamedTuple):
    """A relation between two spans of a text, given by their indices."""

    type: str
    first: int
    second: int


class AnnotatedText(NamedTuple):
    """A text and its spans.

    Attributes:
        id: unique in what was read.
        words: the characters [start, end) of each word, if the format has words; None for free text.
        where: file and line, record or document, for errors.
        relations: those between spans, if the format has them.
    """

    id: str
    text: str
    spans: Sequence[Span]
    words: Sequence[tuple[int, int]] | None = None
    where: str = ""
    relations: Sequence[Relation] = ()


def read_annotations(path: Path, format: str | None = None) -> list[AnnotatedText]:
    """The texts of a directory; UserError if it has none, or one is malformed."""
    texts = [_read(file) for file in sorted(path.rglob("*.ann"))]
    if not texts:
        raise UserError(f"{path}: no .ann files; expected a directory of BRAT's .txt and .ann files")
    return texts


def _read(path: Path) -> AnnotatedText:
    spans, names, relations = [], [], []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        name, content, *_ = [*line.split("\t"), ""]
        parts = content.split(" ")
        if name.startswith("T") and len(parts) == 3 and parts[1].isdigit() and parts[2].isdigit():
            spans.append(Span(int(parts[1]), int(parts[2]), parts[0]))
            names.append(name)
        elif name.startswith("R") and len(parts) == 3:
            relations.append((parts[0], parts[1].removeprefix("Arg1:"), parts[2].removeprefix("Arg2:")))
        else:
            raise UserError(f"{path}: line {number}: expected T1, a tab, TYPE START END; or R1, TYPE, two arguments")
    related = [Relation(kind, names.index(first), names.index(second)) for kind, first, second in relations]
    text = path.with_suffix(".txt").read_text(encoding="utf-8")
    return AnnotatedText(path.stem, text, spans, None, str(path), related)
