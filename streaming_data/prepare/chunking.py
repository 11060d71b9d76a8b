"""Documents to pieces: a text longer than the context is split where it hurts least, and never cut short.

A piece is [CLS] content [SEP]. The contents of a document's pieces, laid end to end, are the document's tokens.
"""

import re
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ..tokenizer.tokenizer import EncodedText, LoadedTokenizer

_SECTION_ENDS = re.compile(r"\n[ \t]*\n\s*")
_SENTENCE_ENDS = re.compile(r"[.!?][\"')\]]*(?=\s)|\n")


class Piece(NamedTuple):
    """Part of a document, or all of it.

    Attributes:
        document_id: of the document.
        tokens: uint16 (n,), [CLS] first and [SEP] last.
        word_starts: bool (n,), True at the first token of each word; False at [CLS] and [SEP].
    """

    document_id: str
    tokens: npt.NDArray[np.uint16]
    word_starts: npt.NDArray[np.bool_]


def split(
    document_id: str, text: str, encoded: EncodedText, tokenizer: LoadedTokenizer, seq_length: int
) -> list[Piece]:
    """The document in pieces of at most `seq_length` tokens, or no piece if it has no tokens."""
    ends = _cuts(text, encoded, seq_length - 2) if len(encoded.tokens) else []
    return [_piece(document_id, encoded, start, end, tokenizer) for start, end in zip([0, *ends], ends, strict=False)]


def _piece(document_id: str, encoded: EncodedText, start: int, end: int, tokenizer: LoadedTokenizer) -> Piece:
    cls, sep = tokenizer.special_ids["cls"], tokenizer.special_ids["sep"]
    tokens = np.concatenate(([cls], encoded.tokens[start:end], [sep]), dtype=np.uint16, casting="unsafe")
    word_starts = np.concatenate(([False], encoded.word_starts[start:end], [False]))
    word_starts[1] = True  # the rest of a word longer than a piece is a word here
    return Piece(document_id, tokens, word_starts)


def _cuts(text: str, encoded: EncodedText, longest: int) -> list[int]:
    """The token index at which each piece ends.

    A cut is the last section end that leaves a piece of three quarters of its room, else the last sentence or line
    end that leaves half, else the last word end, else (a word longer than a piece) wherever the room ends.
    """
    n = len(encoded.tokens)
    if n <= longest:
        return [n]
    words = np.flatnonzero(encoded.word_starts)
    starts = encoded.character_starts()
    choices = [
        (_word_starts_after(_SECTION_ENDS, text, starts, encoded.word_starts), longest * 3 // 4),
        (_word_starts_after(_SENTENCE_ENDS, text, starts, encoded.word_starts), longest // 2),
        (words, 0),
    ]
    cuts = [0]
    while n - cuts[-1] > longest:
        start = cuts[-1]
        found = (_last(places, start + max(least, 1), start + longest) for places, least in choices)
        cuts.append(next((place for place in found if place is not None), start + longest))
    return [*cuts[1:], n]


def _word_starts_after(
    pattern: re.Pattern[str], text: str, starts: npt.NDArray[np.int64], word_starts: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int64]:
    """Indices of the tokens that follow the pattern's matches, where they begin a word."""
    ends = np.array([match.end() for match in pattern.finditer(text)], np.int64)
    places = np.searchsorted(starts, ends)
    places = places[places < len(starts)]
    return places[word_starts[places]]


def _last(places: npt.NDArray[np.int64], least: int, most: int) -> int | None:
    """The largest of the sorted places from `least` to `most`."""
    index = int(np.searchsorted(places, most, side="right")) - 1
    return int(places[index]) if index >= 0 and places[index] >= least else None
