"""The words of a text, as ranges of its characters."""

from collections.abc import Sequence
from itertools import accumulate

Words = Sequence[tuple[int, int]]
"""In order, characters [start, end) each."""


def words_as_text(words: Sequence[str]) -> tuple[str, Words]:
    """Words joined by spaces, and where they are.

    Encoders were trained on text: without the space before it, a byte-level tokenizer treats a word as the
    continuation of another one.
    """
    nexts = accumulate(len(word) + 1 for word in words)
    return " ".join(words), [(start - len(word) - 1, start - 1) for word, start in zip(words, nexts, strict=True)]
