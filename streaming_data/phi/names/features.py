"""Words of texts to the features of those that may be names, as numbers of weights.

A feature is a hash of what it says, and its number that of a weight. Those of a word alone are computed once per word
(`Vocabulary`), those of a word and its neighbors for all texts at once.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import xxhash

from .lexicon import UNKNOWN, Lexicon
from .words import CAPITALS, SIGN, fold, may_be_name, shape

Rows: TypeAlias = "npt.NDArray[np.int32]"
Places: TypeAlias = "npt.NDArray[np.int64]"
Hashes: TypeAlias = "npt.NDArray[np.uint32]"
Answers: TypeAlias = "npt.NDArray[np.int8]"

BITS = 20
NONE = 0  # the number of no feature, whose weight is 0
AROUND = 3  # words on each side that are looked at
NEAR = 6  # words on each side among which capitals are counted, and ends between two texts
_OWN = 12  # features of a word alone
_MOST_WORDS = 100_000  # in a vocabulary, which then begins anew
_END = "\0"  # the word before the first and after the last


class Words(NamedTuple):
    """The words of some texts in order, with `NEAR` ends before, between and behind the texts.

    Attributes:
        rows: of each word in the vocabulary.
        candidates: where the words are that may be names, in order.
    """

    rows: Rows
    candidates: Places


class Vocabulary:
    """What the features need of each word: computed when it first occurs, then kept.

    Attributes:
        own: per word the numbers of its own features, [words, 12].
        known: the word itself if it is a known one, else 0, [words].
        kinds: how it is written, how public text writes it and which lists of names have it, [words].
        rough: how it is written, and whether public text or a list of names has it, [words].
        shapes: how it is written, [words].
        candidates: whether it may be a name, [words].
    """

    def __init__(self, lexicon: Lexicon) -> None:
        self._lexicon = lexicon
        self._forget()

    def _forget(self) -> None:
        self._rows: dict[str, int] = {}
        self.own = np.empty((0, _OWN), np.int32)
        self.known = self.kinds = self.rough = self.shapes = np.empty(0, np.uint32)
        self.candidates = np.empty(0, np.bool_)

    def read(self, texts: Iterable[Sequence[str]]) -> Words:
        """The words of some texts. Rows of earlier calls are no longer valid."""
        if len(self._rows) > _MOST_WORDS:
            self._forget()
        ends = [_END] * NEAR
        words = list(ends)
        for text in texts:
            words += text
            words += ends
        self._add([word for word in dict.fromkeys(words) if word not in self._rows])
        rows = np.fromiter(map(self._rows.__getitem__, words), np.int32, len(words))
        return Words(rows, np.flatnonzero(self.candidates[rows]))

    def _add(self, words: Sequence[str]) -> None:
        if not words:
            return
        traits = [_traits(word, self._lexicon) for word in words]
        self._rows.update((word, len(self._rows)) for word in words)
        self.own = np.concatenate([self.own, np.array([one.own for one in traits], np.int32)])
        self.known = np.concatenate([self.known, np.array([one.known for one in traits], np.uint32)])
        self.kinds = np.concatenate([self.kinds, np.array([one.kind for one in traits], np.uint32)])
        self.rough = np.concatenate([self.rough, np.array([one.rough for one in traits], np.uint32)])
        self.shapes = np.concatenate([self.shapes, np.array([one.shape for one in traits], np.uint32)])
        self.candidates = np.concatenate([self.candidates, np.array([one.candidate for one in traits], np.bool_)])


class _Traits(NamedTuple):
    own: list[int]
    known: int
    kind: int
    rough: int
    shape: int
    candidate: bool


def _traits(word: str, lexicon: Lexicon) -> _Traits:
    folded, form = fold(word), shape(word)
    usage = lexicon.get(folded, UNKNOWN)
    lower, title, upper = (min(count, 3) // 2 + (count > 0) for count in usage[:3])  # 0, 1, 2: never, rarely, often
    rough = form * 6 + 2 * min(lower + title + upper, 2) + (usage.names > 0)
    kind = (((form * 3 + lower) * 3 + title) * 3 + upper) * 4 + usage.names
    is_known = usage.lower >= 3 or usage.cue or (form <= SIGN and form != 1) or word == _END or len(word) == 1
    known = _hash(f"w{folded}") if is_known else 0
    candidate = word != _END and may_be_name(word)
    if not candidate:
        return _Traits([NONE] * _OWN, known, kind, rough, form, candidate)
    says = [
        f"s{form}",
        f"n{form}{usage.names}",
        f"l{usage.lower}{usage.names}",
        f"t{usage.title}{usage.names}",
        f"u{usage.upper}{form}",
        f"lt{usage.lower}{usage.title}{usage.names}",
        f"k{form}{usage.lower}{usage.title}{usage.upper}{usage.names}",
        f"#{min(len(folded), 9)}{form == CAPITALS}",
        *(f"e{form == CAPITALS}{folded[-length:]}" for length in (2, 3)),
        *(f"b{form == CAPITALS}{folded[:length]}" for length in (3,)),
    ]
    if known or usage.title >= 2 or usage.upper >= 3:
        says.append(f"w{folded}")
    numbers = [_number(_hash(one)) for one in says[:_OWN]]
    return _Traits(numbers + [NONE] * (_OWN - len(numbers)), known, kind, rough, form, candidate)


def _hash(text: str) -> int:
    return xxhash.xxh32_intdigest(text.encode("utf-8", "surrogatepass"))


def _number(hashed: int) -> int:
    return hashed % ((1 << BITS) - 1) + 1


def first_features(words: Words, vocabulary: Vocabulary) -> Rows:
    """Of each candidate the numbers of its features: its own, and those of its neighbors, [candidates, features]."""
    at = words.candidates
    rows = {offset: words.rows[at + offset] for offset in range(-AROUND, AROUND + 1)}
    known = {offset: vocabulary.known[row] for offset, row in rows.items()}
    kinds = {offset: vocabulary.kinds[row] for offset, row in rows.items()}
    rough = {offset: vocabulary.rough[row] for offset, row in rows.items()}
    shapes = vocabulary.shapes[rows[0]]
    is_candidate = vocabulary.candidates[words.rows]
    in_capitals = is_candidate & (vocabulary.shapes[words.rows] == CAPITALS)
    near, loud = _around(is_candidate, at), _around(in_capitals, at)
    says = [
        *((known[offset],) for offset in range(-AROUND, AROUND + 1) if offset),
        *((kinds[offset],) for offset in (-2, -1, 1, 2)),
        *((known[offset], shapes) for offset in (-2, -1, 1, 2)),
        (kinds[-1], kinds[0]),
        (kinds[0], kinds[1]),
        (kinds[-1], kinds[0], kinds[1]),
        (rough[-1], rough[0], rough[1]),
        (rough[-2], rough[-1], rough[0]),
        (rough[0], rough[1], rough[2]),
        (rough[-2], rough[-1], rough[0], rough[1], rough[2]),
        (known[-2], known[-1], shapes),
        (known[1], known[2], shapes),
        (known[-1], known[1], shapes),
        (known[-1], kinds[0]),
        (kinds[0], known[1]),
        (known[-1], kinds[1], shapes),
        (known[-2], kinds[-1], shapes),
        (known[-1], known[1], kinds[0]),
        (near, shapes),
        (loud, near, shapes),
    ]
    columns = [_column(number, parts) for number, parts in enumerate(says)]
    return np.concatenate([vocabulary.own[rows[0]], np.stack(columns, axis=1)], axis=1)


def second_features(words: Words, answers: Answers) -> Rows:
    """What the first pass answered for a word and its neighbors, [candidates, features].

    Args:
        answers: of the candidates: 1 (no name) to 6 (a name), see `finder.py`.
    """
    everywhere = np.zeros(len(words.rows), np.uint32)
    everywhere[words.candidates] = answers
    before2, before, own, after, after2 = (everywhere[words.candidates + offset] for offset in range(-2, 3))
    says = [(own,), (before, own, after), (before2, before, own), (own, after, after2), (before,), (after,)]
    return np.stack([_column(100 + number, parts) for number, parts in enumerate(says)], axis=1)


def _around(flags: npt.NDArray[np.bool_], at: Places) -> Hashes:
    """How many words around each place have the flag, in threes."""
    sums = np.concatenate([[0], np.cumsum(flags)])
    first, last = np.maximum(at - NEAR, 0), np.minimum(at + NEAR + 1, len(flags))
    return ((sums[last] - sums[first]) // 3).astype(np.uint32)


def _column(kind: int, parts: Sequence[Hashes]) -> Rows:
    """The number of a feature, for each candidate: of its kind, and what it says."""
    hashed = np.full(len(parts[0]), 0x9E3779B1 * (kind + 1) & 0xFFFFFFFF, np.uint32)
    for part in parts:
        hashed = (hashed ^ part) * np.uint32(0x85EBCA6B)
        hashed ^= hashed >> np.uint32(13)
    return (hashed % np.uint32((1 << BITS) - 1)).astype(np.int32) + 1
