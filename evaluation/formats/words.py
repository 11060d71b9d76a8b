"""Words of free text, and their tags: from spans of characters to IOB2 and back."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

from .annotated.text import Span
from .tag_schemes import Chunk, chunks_of, iob2, parse_tag

Words = Sequence[tuple[int, int]]
"""The words of a text, in order: characters [start, end) each."""

_WORD = re.compile(r"[^\W_](?:[^\W_]|[\u0300-\u036f])*|[^\w\s]|_")


class WordTags(NamedTuple):
    """Tags of words in IOB2, and what they cannot express.

    Attributes:
        off_borders: spans that begin or end inside a word, or between words; they are extended to the words that they
            touch, or left out if there is none.
        overlapping: spans that share a word with a longer one, which are left out.
    """

    tags: list[str]
    off_borders: int
    overlapping: int


def words_of(text: str) -> list[tuple[int, int]]:
    """The characters [start, end) of the words: runs of letters and digits, and single other characters."""
    return [match.span() for match in _WORD.finditer(text)]


def words_as_text(words: Sequence[str]) -> tuple[str, Words]:
    """Words joined by spaces, and where they are.

    Encoders were trained on text: without the space before it, a byte-level tokenizer treats a word as the
    continuation of another one.
    """
    nexts = accumulate(len(word) + 1 for word in words)
    return " ".join(words), [(start - len(word) - 1, start - 1) for word, start in zip(words, nexts, strict=True)]


def tags_of(words: Sequence[tuple[int, int]], spans: Sequence[Span]) -> WordTags:
    """The tag of each word, given words in ascending order that do not overlap."""
    chunks, off_borders, overlapping = chunks_in(words, spans)
    return WordTags(iob2(chunks, len(words)), off_borders, overlapping)


def chunks_in(words: Sequence[tuple[int, int]], spans: Sequence[Span]) -> tuple[list[Chunk], int, int]:
    """As `tags_of`, the chunks themselves."""
    starts, ends = [start for start, _ in words], [end for _, end in words]
    taken = [False] * len(words)
    chunks: list[Chunk] = []
    off_borders = overlapping = 0
    for span in sorted(spans, key=lambda span: (span.start - span.end, span)):
        first, last = bisect_right(ends, span.start), bisect_left(starts, span.end)
        if first >= last:
            off_borders += 1
        elif any(taken[first:last]):
            overlapping += 1
        else:
            off_borders += (starts[first], ends[last - 1]) != (span.start, span.end)
            taken[first:last] = [True] * (last - first)
            chunks.append(Chunk(first, last, span.type))
    return sorted(chunks), off_borders, overlapping


def spans_of(words: Sequence[tuple[int, int]], tags: Sequence[str]) -> list[Span]:
    """The spans of words with tags in IOB2 (or IOB1, IOE, BIOES); ValueError for a tag of another form."""
    parsed = [parse_tag(tag, "B-TYPE") for tag in tags]
    if len(words) != len(tags) or None in parsed:
        raise ValueError(f"expected {len(words)} tags such as O, B-TYPE and I-TYPE")
    chunks = chunks_of([tag for tag in parsed if tag])
    return [Span(words[chunk.start][0], words[chunk.end - 1][1], chunk.type) for chunk in chunks]
