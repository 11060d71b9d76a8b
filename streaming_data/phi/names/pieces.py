"""Texts in pieces of bounded size, so that one endless text needs no more memory than many short ones."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

_LONGEST = 1 << 18  # characters of a piece
_SEARCHED = 1 << 12  # characters in which the end of a line or a word is searched


class Piece(NamedTuple):
    """A part of a text: the number of the text, where the part begins in it, and the part."""

    number: int
    start: int
    text: str


def pieces_of(texts: Sequence[str]) -> Iterator[Piece]:
    """All of each text, cut at the end of a line, or else of a word, where it is long."""
    for number, text in enumerate(texts):
        start = 0
        while len(text) - start > _LONGEST:
            end = start + _LONGEST
            marks = (text.rfind(mark, end - _SEARCHED, end) for mark in "\n ")
            end = next((mark + 1 for mark in marks if mark > 0), end)
            yield Piece(number, start, text[start:end])
            start = end
        yield Piece(number, start, text[start:])
