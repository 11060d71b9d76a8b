"""Long texts in pieces: the tokenizer's library needs 165 bytes per byte of a text while it encodes it.

A text is cut only where the tokenizer itself begins a new word whatever precedes it, so the tokens are those of the
text as one.
"""

import re
from collections.abc import Iterator

import numpy as np
from tokenizers import Encoding, Tokenizer

from .words import pretoken_starts

PIECE = 1 << 18
"""Characters; a text that is longer than two of these is encoded in pieces."""

_CONTEXT = 256
_ATTEMPTS = 8
# Before white space, else at another boundary of words, as in a list without spaces.
_BOUNDARIES = (re.compile(r"(?<=\S)(?=\s)"), re.compile(r"\b"))


def pieces(backend: Tokenizer, text: str) -> Iterator[tuple[int, Encoding]]:
    """The encodings of consecutive pieces of a text, each with the number of characters before it."""
    start = 0
    for end in (*_cuts(backend, text), len(text)):
        yield start, backend.encode(text[start:end], add_special_tokens=False)
        start = end


def _cuts(backend: Tokenizer, text: str) -> Iterator[int]:
    last = high = 0
    while (high := high + PIECE) < len(text):
        low = max(last, high - PIECE // 2)
        candidates = (
            match.start()
            for pattern in _BOUNDARIES
            for match in list(pattern.finditer(text, low + 1, high))[-_ATTEMPTS:][::-1]
        )
        cut = next((position for position in candidates if _is_independent(backend, text, position)), None)
        if cut is not None:  # else the piece grows
            yield cut
            last = high = cut


def _is_independent(backend: Tokenizer, text: str, position: int) -> bool:
    """Whether the text around the position has the same tokens, words and offsets in one as in two parts."""
    before, after = text[max(0, position - _CONTEXT) : position], text[position : position + _CONTEXT]
    whole, left, right = (backend.encode(part, add_special_tokens=False) for part in (before + after, before, after))
    return bool(
        whole.ids == [*left.ids, *right.ids]
        and np.array_equal(pretoken_starts(whole), np.concatenate((pretoken_starts(left), pretoken_starts(right))))
        and [start for start, _ in whole.offsets]
        == [start + shift for part, shift in ((left, 0), (right, len(before))) for start, _ in part.offsets]
    )
