"""What a word is for a tokenizer: a pre-token where its pre-tokens are words, else found in the characters of the text.

Some tokenizers have no pre-tokens, or one per document (Gemma's, Llama's, Metaspace without splits), or split at white
space alone, so that `cough;` is one. Their words are those that GPT-2's pattern finds: letters, digits, a run of other
signs, each with the space before it, or a run of other blanks. In scripts that are written without spaces (Thai, Han,
kana), each character is a word, as BERT has it for Han, with any tokenizer but those of GPT-2's own pattern: their data
sets stay what they were.
"""

import unicodedata
from typing import Literal

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer, pre_tokenizers

from .pretokens import code_points

WordSource = Literal["gpt2", "pretokens", "text"]
"""Where words come from: the pre-tokens of GPT-2's pattern, other pre-tokens, or the characters of the text."""

_PROBE = (
    "The patient was admitted with fever and a dry cough; blood pressure was 120/80, and the pulse was 96.\n"
    "Chest films showed no infiltrate. She was treated with ceftriaxone 1 g daily, and went home on day 5."
)
_PATTERNS = "E11.9 (don't),  stop\n\n\t1a β-blocker 患者は発熱。x"
_BLANK, _LETTER, _DIGIT, _OTHER, _ALONE, _MARK, _UNKNOWN = range(7)
_WITHOUT_SPACES = (
    *((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF), (0x3040, 0x312F), (0x31A0, 0x31BF), (0x31F0, 0x31FF)),
    *((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0xFF66, 0xFF9F), (0x20000, 0x3FFFF)),
)
_kinds = np.full(0x110000, _UNKNOWN, np.uint8)


def word_source(backend: Tokenizer) -> WordSource:
    """Where the words of this tokenizer come from."""
    backend.encode(_PROBE, add_special_tokens=False)  # what it cannot do shows here, not after an hour
    text = _PROBE + _PATTERNS
    found = _pretokens(backend, text)
    if found is None:
        return "text"
    normalized, spans = found
    pattern = pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str(normalized)
    if normalized == text and [start for start, _ in spans] == [start for _, (start, _) in pattern]:
        return "gpt2"
    return "pretokens" if all(_is_one_word(normalized[start:end]) for start, end in spans) else "text"


def _pretokens(backend: Tokenizer, text: str) -> tuple[str, list[tuple[int, int]]] | None:
    """The normalized text, and the spans of its pre-tokens; None without a pre-tokenizer."""
    if backend.pre_tokenizer is None:
        return None
    normalized = backend.normalizer.normalize_str(text) if backend.normalizer else text
    return normalized, [span for _, span in backend.pre_tokenizer.pre_tokenize_str(normalized)]


def _is_one_word(pretoken: str) -> bool:
    """Whether nothing follows its letters and digits but more of them, as in `(don` and `'t`."""
    kinds = [character.isalnum() or bool(unicodedata.combining(character)) for character in pretoken.strip()]
    return kinds == sorted(kinds)


def pretoken_starts(encoding: Encoding) -> npt.NDArray[np.bool_]:
    """Which tokens begin a pre-token: bool (tokens,)."""
    return np.diff(np.array(encoding.word_ids, np.int64), prepend=-1) != 0


def pretokens_are_words(backend: Tokenizer) -> bool:
    """Whether English text has at least half as many pre-tokens as words between spaces.

    This decided once what a word is; it says what the words of such data sets are.
    """
    encoding = backend.encode(_PROBE, add_special_tokens=False)
    return int(pretoken_starts(encoding).sum()) >= len(_PROBE.split()) / 2


def word_starts(text: str, spans: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which tokens begin a word of the text: bool (tokens,).

    A token belongs to the word of its first character that is no blank. If the next word begins within it too, it stays
    with the first: joining the two would chain sentences.

    Args:
        spans: the characters of each token, first and end, int64 (tokens, 2).
    """
    if not text or not len(spans):
        return np.ones(len(spans), np.bool_)
    codes, _ = code_points([text])
    kinds = _kinds_of(codes)[:-1]  # without the NUL after the text
    starts = np.ones(len(kinds), np.bool_)
    starts[1:] = (kinds[1:] != kinds[:-1]) | (kinds[1:] == _ALONE)
    starts[1:] &= (kinds[1:] != _MARK) | (kinds[:-1] < _ALONE)  # a mark belongs to its letter
    spaces = np.flatnonzero((codes[:-2] == ord(" ")) & (kinds[1:] != _BLANK))
    starts[spaces], starts[spaces + 1] = True, False
    words = np.searchsorted(np.flatnonzero(starts), _first_characters(kinds, spans), side="right")
    return np.diff(words, prepend=-1) != 0


def starts_alone(text: str, character_starts: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which tokens begin a character of a script without spaces, or what follows one: bool (tokens,).

    Args:
        character_starts: the character in which each token begins, int64 (tokens,).
    """
    if text.isascii() or not len(character_starts):
        return np.zeros(len(character_starts), np.bool_)
    kinds = _kinds_of(code_points([text])[0])[character_starts]
    alone, marks = kinds == _ALONE, kinds == _MARK
    changes = np.diff(character_starts, prepend=-1) != 0
    changes[1:] &= alone[1:] | ((alone | marks)[:-1] & ~marks[1:])
    return changes


def _first_characters(kinds: npt.NDArray[np.uint8], spans: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The first character of each token that is no blank, or its first."""
    firsts = np.minimum(spans[:, 0], len(kinds) - 1)
    signs = np.flatnonzero(kinds != _BLANK)
    if not len(signs):
        return firsts
    following = signs[np.minimum(np.searchsorted(signs, firsts), len(signs) - 1)]
    return np.where((following >= firsts) & (following < spans[:, 1]), following, firsts)


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
        if not any(first <= code <= last for first, last in _WITHOUT_SPACES):
            return _LETTER
        return _MARK if category == "M" else _ALONE
    return _DIGIT if category == "N" else _OTHER
