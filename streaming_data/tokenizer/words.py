"""What a word is for a tokenizer: a pre-token where its pre-tokens are words, else found in the characters of the text.

Some tokenizers have no pre-tokens, or one per document (Gemma's, Llama's, Metaspace without splits). Their words are
those that GPT-2's pattern finds: letters, digits, a run of other signs, each with the space before it, or a run of
other blanks. In scripts that are written without spaces, each character is a word, as BERT has it for Han.
"""

import unicodedata

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer

from .pretokens import code_points

_PROBE = (
    "The patient was admitted with fever and a dry cough; blood pressure was 120/80, and the pulse was 96.\n"
    "Chest films showed no infiltrate. She was treated with ceftriaxone 1 g daily, and went home on day 5."
)
_BLANK, _LETTER, _DIGIT, _OTHER, _ALONE, _UNKNOWN = range(6)
_WITHOUT_SPACES = (
    *((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x30FF), (0x31F0, 0x31FF)),
    *((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF)),
)
_kinds = np.full(0x110000, _UNKNOWN, np.uint8)


def pretoken_starts(encoding: Encoding) -> npt.NDArray[np.bool_]:
    """Which tokens begin a pre-token: bool (tokens,)."""
    return np.diff(np.array(encoding.word_ids, np.int64), prepend=-1) != 0


def pretokens_are_words(backend: Tokenizer) -> bool:
    """Whether English text has at least half as many pre-tokens as words between spaces."""
    encoding = backend.encode(_PROBE, add_special_tokens=False)
    return int(pretoken_starts(encoding).sum()) >= len(_PROBE.split()) / 2


def word_starts(text: str, character_starts: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which tokens begin a word of the text: bool (tokens,). A token belongs to the word of its first character.

    Args:
        character_starts: the character in which each token begins, int64 (tokens,).
    """
    if not text or not len(character_starts):
        return np.ones(len(character_starts), np.bool_)
    codes, _ = code_points([text])
    kinds = _kinds_of(codes)[:-1]  # without the NUL after the text
    starts = np.ones(len(kinds), np.bool_)
    starts[1:] = (kinds[1:] != kinds[:-1]) | (kinds[1:] == _ALONE)
    spaces = np.flatnonzero((codes[:-2] == ord(" ")) & (kinds[1:] != _BLANK))
    starts[spaces], starts[spaces + 1] = True, False
    words = np.searchsorted(np.flatnonzero(starts), character_starts, side="right")
    return np.diff(words, prepend=-1) != 0


def _kinds_of(codes: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint8]:
    kinds = _kinds[codes]
    if (unknown := kinds == _UNKNOWN).any():
        for code in np.unique(codes[unknown]).tolist():
            _kinds[code] = _kind(code)
        kinds = _kinds[codes]
    return kinds


def _kind(code: int) -> int:
    character = chr(code)
    if character.isspace():
        return _BLANK
    category = unicodedata.category(character)[0]
    if category in "LM":  # a combining mark belongs to its letter
        return _ALONE if any(first <= code <= last for first, last in _WITHOUT_SPACES) else _LETTER
    return _DIGIT if category == "N" else _OTHER
