"""Long texts in pieces: the tokenizer's library needs 165 bytes per byte of a text while it encodes it.

A text is cut only where that changes no token: where the tokenizer itself begins a new word whatever precedes it, or,
if it has no words, between two characters that no token of its vocabulary has next to each other. Such a tokenizer may
treat the beginning of a text in another way (Llama's puts a space there), so a piece is encoded with the character
before it, whose tokens are dropped.
"""

import re
from collections.abc import Iterator
from itertools import chain, pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer

from .words import WordSource, pretoken_starts

PIECE = 1 << 18
"""Characters; a text that is longer than two of these is encoded in pieces."""

_CONTEXT = 256
_ATTEMPTS = 8
# Before white space, else at another boundary of words, as in a list without spaces.
_BOUNDARIES = (re.compile(r"(?<=\S)(?=\s)"), re.compile(r"\b"))
_BLANK_AFTER_SIGN = re.compile(r"(?<=[!-~])(?=[ \n][!-~])")
_SPELLED = {" ": " ▁Ġ", "\n": "\nĊ"}  # in vocabularies


class Piece(NamedTuple):
    """The tokens of a piece of a text.

    Attributes:
        start, end: of its characters in the text.
        spans: the characters of each token in the piece, int64 (tokens, 2).
        pretoken_starts: which tokens begin a pre-token, bool (tokens,).
    """

    start: int
    end: int
    ids: list[int]
    spans: npt.NDArray[np.int64]
    pretoken_starts: npt.NDArray[np.bool_]


def pieces(backend: Tokenizer, text: str, words: WordSource) -> Iterator[Piece]:
    """The tokens of consecutive pieces of a text."""
    cuts = _cuts_between_tokens(backend, text) if words == "text" else _cuts_between_words(backend, text)
    for start, end in pairwise((0, *cuts, len(text))):
        if words == "text" and start:
            yield Piece(start, end, *_after_first(backend, text[start - 1 : end]))
        else:
            encoding = backend.encode(text[start:end], add_special_tokens=False)
            yield Piece(start, end, encoding.ids, spans(encoding), pretoken_starts(encoding))


def spans(encoding: Encoding) -> npt.NDArray[np.int64]:
    """The characters of each token, first and end: int64 (tokens, 2)."""
    return np.fromiter(chain.from_iterable(encoding.offsets), np.int64, 2 * len(encoding)).reshape(-1, 2)


def _after_first(backend: Tokenizer, text: str) -> tuple[list[int], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Ids, spans and starts of pre-tokens of the text after its first character, which no token joins to the next."""
    encoding = backend.encode(text, add_special_tokens=False)
    found = spans(encoding)
    first = int(np.searchsorted(found[:, 0], 1))
    return encoding.ids[first:], found[first:] - 1, pretoken_starts(encoding)[first:]


def _cuts_between_words(backend: Tokenizer, text: str) -> Iterator[int]:
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


def _cuts_between_tokens(backend: Tokenizer, text: str) -> Iterator[int]:
    joined = {blank: _before(backend, spelled) for blank, spelled in _SPELLED.items()}
    last = high = 0
    while (high := high + PIECE) < len(text):
        low = max(last, high - PIECE // 2)
        found = (match.start() for match in list(_BLANK_AFTER_SIGN.finditer(text, low + 1, high))[::-1])
        free = [at for at in found if not {text[at - 1], text[at - 1].lower()} & joined[text[at]]][:_ATTEMPTS]
        cut = next((position for position in free if _is_free(backend, text, position)), None)
        if cut is not None:
            yield cut
            last = high = cut


def _before(backend: Tokenizer, characters: str) -> set[str]:
    """What precedes one of these characters within any token."""
    tokens = "\0".join(backend.get_vocab(with_added_tokens=True))
    return set(re.findall(f"(?s)(.)(?=[{characters}])", tokens))


def _is_independent(backend: Tokenizer, text: str, position: int) -> bool:
    """Whether the text around the position has the same tokens, words and offsets in one as in two parts."""
    before, after = text[max(0, position - _CONTEXT) : position], text[position : position + _CONTEXT]
    whole, left, right = (backend.encode(part, add_special_tokens=False) for part in (before + after, before, after))
    return bool(
        whole.ids == [*left.ids, *right.ids]
        and np.array_equal(pretoken_starts(whole), np.concatenate((pretoken_starts(left), pretoken_starts(right))))
        and np.array_equal(spans(whole), np.concatenate((spans(left), spans(right) + len(before))))
    )


def _is_free(backend: Tokenizer, text: str, position: int) -> bool:
    """Whether the text around the position has the same tokens and offsets in one as in two parts."""
    before, after = text[max(0, position - _CONTEXT) : position], text[position : position + _CONTEXT]
    whole, left = (backend.encode(part, add_special_tokens=False) for part in (before + after, before))
    ids, after_spans, _ = _after_first(backend, before[-1] + after)
    return bool(
        whole.ids == [*left.ids, *ids]
        and np.array_equal(spans(whole), np.concatenate((spans(left), after_spans + len(before))))
    )
