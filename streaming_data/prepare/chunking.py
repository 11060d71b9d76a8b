"""Documents to segments: a text longer than the context is cut at section or sentence ends and never truncated.

A segment is [CLS] content [SEP]. The contents of a document's segments, concatenated, are the document's tokens.
"""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..locales.sentences import sentence_ends
from ..tokenizer.tokenizer import EncodedText, LoadedTokenizer

_SECTION_ENDS = re.compile(r"\n[ \t]*\n\s*")


class Segment(NamedTuple):
    """Part of a document, or all of it.

    Attributes:
        document_id: of the document.
        tokens: uint16 or uint32 (n,), as the tokenizer needs; [CLS] first and [SEP] last.
        word_starts: bool (n,), True at the first token of each word; False at [CLS] and [SEP].
    """

    document_id: str
    tokens: npt.NDArray[np.unsignedinteger[Any]]
    word_starts: npt.NDArray[np.bool_]


def cut_into_segments(
    document_id: str,
    text: str,
    encoded: EncodedText,
    tokenizer: LoadedTokenizer,
    seq_length: int,
    locales: Sequence[str] = (),
) -> list[Segment]:
    """The document as segments of at most `seq_length` tokens; no segment if it has no tokens.

    Args:
        locales: of the text; their abbreviations do not end a sentence.
    """
    ends = _cuts(text, encoded, seq_length - 2, locales) if len(encoded.tokens) else []
    return [_segment(document_id, encoded, start, end, tokenizer) for start, end in zip([0, *ends], ends, strict=False)]


def _segment(document_id: str, encoded: EncodedText, start: int, end: int, tokenizer: LoadedTokenizer) -> Segment:
    ends = np.array([tokenizer.special_ids["cls"], tokenizer.special_ids["sep"]], encoded.tokens.dtype)
    tokens = np.concatenate((ends[:1], encoded.tokens[start:end], ends[1:]))
    word_starts = np.concatenate(([False], encoded.word_starts[start:end], [False]))
    word_starts[1] = True  # the rest of a word longer than a segment counts as a word of this segment
    return Segment(document_id, tokens, word_starts)


def _cuts(text: str, encoded: EncodedText, longest: int, locales: Sequence[str]) -> list[int]:
    """The token index at which each segment ends.

    A cut is the last section end that fills at least three quarters of a segment, else the last sentence or line end
    that fills at least half, else the last word end, else (a word longer than a segment) where the segment is full.
    """
    n = len(encoded.tokens)
    if n <= longest:
        return [n]
    words = np.flatnonzero(encoded.word_starts)
    starts = encoded.character_starts()
    choices = [
        (_word_starts_after(_section_ends(text), starts, encoded.word_starts), longest * 3 // 4),
        (_word_starts_after(sentence_ends(text, locales), starts, encoded.word_starts), longest // 2),
        (words, 0),
    ]
    cuts = [0]
    while n - cuts[-1] > longest:
        start = cuts[-1]
        candidates = (_last(indices, start + max(least, 1), start + longest) for indices, least in choices)
        cuts.append(next((index for index in candidates if index is not None), start + longest))
    return [*cuts[1:], n]


def _section_ends(text: str) -> list[int]:
    return [match.end() for match in _SECTION_ENDS.finditer(text)]


def _word_starts_after(
    ends: Sequence[int], starts: npt.NDArray[np.int64], word_starts: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int64]:
    """Indices of the tokens that follow these positions in the text, where they begin a word."""
    indices = np.searchsorted(starts, np.array(ends, np.int64))
    indices = indices[indices < len(starts)]
    return indices[word_starts[indices]]


def _last(indices: npt.NDArray[np.int64], least: int, most: int) -> int | None:
    """The largest of the sorted indices from `least` to `most`."""
    number = int(np.searchsorted(indices, most, side="right")) - 1
    return int(indices[number]) if number >= 0 and indices[number] >= least else None
