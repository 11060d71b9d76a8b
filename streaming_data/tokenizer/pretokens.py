"""Where words begin in a byte-level tokenizer, for many texts at once: GPT-2's pattern as operations on arrays.

The pattern, `'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+`, divides a text into
runs of letters, of numbers, of other signs and of blanks. A space goes with the run after it, and of other blanks the
last one is alone.
"""

import unicodedata
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from tokenizers import pre_tokenizers

Codes: TypeAlias = "npt.NDArray[np.uint32]"
Mask: TypeAlias = "npt.NDArray[np.bool_]"
Indices: TypeAlias = "npt.NDArray[np.int64]"

_LETTER, _NUMBER, _OTHER, _BLANK, _ADDED, _END, _UNKNOWN = range(7)
_CODES = 0x110000
_APOSTROPHE = ord("'")


def code_points(texts: list[str]) -> tuple[Codes, Indices]:
    """The code points of the texts, uint32, with a NUL after each; and where these NULs are, int64 (texts,).

    Surrogates, which no encoding has, stay what they are.
    """
    joined = "\0".join([*texts, ""])
    ends = np.cumsum(np.fromiter(map(len, texts), np.int64, len(texts)) + 1) - 1
    return np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), "<u4"), ends


class CharacterClasses:
    """What the tokenizer's library takes each character for. It is asked once per character: Unicode tables differ.

    Attributes:
        known: bool (code points,), False for what may be normalized in another way by another version of Unicode, and
            for surrogates.
    """

    def __init__(self) -> None:
        self.known = np.zeros(_CODES, np.bool_)
        self._classes = np.full(_CODES, _UNKNOWN, np.uint8)
        self._pattern = pre_tokenizers.ByteLevel(add_prefix_space=False)

    def of(self, codes: Codes) -> npt.NDArray[np.uint8]:
        """The class of each code point: uint8, of the same shape."""
        classes = self._classes[codes]
        if (unknown := classes == _UNKNOWN).any():
            for code in np.unique(codes[unknown]).tolist():
                self.known[code] = unicodedata.category(chr(code)) not in ("Cn", "Cs")
                self._classes[code] = self._ask(chr(code)) if self.known[code] else _OTHER
            classes = self._classes[codes]
        return classes

    def _ask(self, character: str) -> int:
        """A character continues the run of its own class, and no other."""
        runs = (("a", _LETTER), ("1", _NUMBER), ("!", _OTHER))
        continued = (kind for run, kind in runs if len(self._pattern.pre_tokenize_str(run + character)) == 1)
        return next(continued, _BLANK)


def pretoken_starts(codes: Codes, classes: npt.NDArray[np.uint8], ends: Indices, longest_run: int) -> Mask:
    """Which characters begin a pre-token: bool, of the shape of `codes`. The NUL after each text is one of its own.

    Args:
        codes: from `code_points`, with its `ends`.
        classes: of the codes; changed in place.
        longest_run: runs of 2 to so many spaces are added tokens; 0 if none are.
    """
    classes[ends] = _END
    starts = np.zeros(len(codes), np.bool_)
    if longest_run:
        _mark_added_runs(codes, classes, ends, longest_run, starts)
    starts[0] = True
    starts[1:] |= classes[1:] != classes[:-1]
    starts[ends] = True
    last_blank = np.zeros(len(codes), np.bool_)
    last_blank[:-1] = (classes[:-1] == _BLANK) & (classes[1:] < _BLANK)
    starts |= last_blank
    glued = np.flatnonzero(last_blank & (codes == ord(" ")))
    starts[glued + 1] = False
    _join_contractions(codes, classes, starts)
    return starts


def _mark_added_runs(codes: Codes, classes: npt.NDArray[np.uint8], ends: Indices, longest: int, starts: Mask) -> None:
    """Classify spaces that are added tokens, and mark the first of each. One space left over is an ordinary blank."""
    space = codes == ord(" ")
    space[ends] = False
    edges = np.flatnonzero(np.diff(np.concatenate(([False], space, [False])).view(np.int8)))
    firsts, lengths = edges[::2], edges[1::2] - edges[::2]
    firsts, lengths = firsts[lengths > 1], lengths[lengths > 1]
    place = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    at, left = np.repeat(firsts, lengths) + place, np.repeat(lengths, lengths)
    alone = (place == left - 1) & (left % longest == 1)
    classes[at[~alone]] = _ADDED
    starts[at[(place % longest == 0) & ~alone]] = True


def _join_contractions(codes: Codes, classes: npt.NDArray[np.uint8], starts: Mask) -> None:
    """`'s`, `'t`, `'m`, `'d`, `'re`, `'ve` and `'ll` are pre-tokens, where an apostrophe begins one."""
    at = np.flatnonzero((codes == _APOSTROPHE) & starts)
    first, second = (np.minimum(at + n, len(codes) - 1) for n in (1, 2))
    letters = [np.where(classes[place] == _LETTER, codes[place], 0) for place in (first, second)]
    one = np.isin(letters[0], [ord(letter) for letter in "stmd"])
    two = np.zeros(len(at), np.bool_)
    for pair in ("re", "ve", "ll"):
        two |= (letters[0] == ord(pair[0])) & (letters[1] == ord(pair[1]))
    starts[first[one | two]] = False
    starts[second[two]] = False
    starts[second[one]] = True
    starts[np.minimum(at[two] + 3, len(codes) - 1)] = True
