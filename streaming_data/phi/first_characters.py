"""Where in many texts a regular expression can match at all, by the first characters that it requires.

Python's `re` reads every text once per pattern, a character at a time. The first characters of a pattern, which are
declared with it, are compared with all texts at once by numpy instead, and `re` is asked only where they occur. A
pattern without them is searched as usual.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Bytes: TypeAlias = "npt.NDArray[np.uint8]"
Positions: TypeAlias = "npt.NDArray[np.int64]"
Class: TypeAlias = frozenset[int]
Heads: TypeAlias = tuple[tuple[Class, ...], ...]

_DEPTH = 8  # characters of a word of a list that are compared
_ONE = re.compile(r"\[[^]]*\]|\\.|.")
_ANY = ord("?")  # what a character beyond Latin-1 is encoded as: it may be of any class
_LONG = 1 << 19  # characters: a longer text is searched by `re` alone, which needs no memory
_FEW = 1 << 15  # characters: below, `re` alone is faster
_MAY_PRECEDE = bytes(not chr(code).isalnum() or code == _ANY for code in range(256))  # a word
_MAY_FOLLOW = np.array([not re.match(r"[^\W\d_]", chr(code)) or code == _ANY for code in range(256)])  # a word
_MAY_END = np.isin(np.arange(256), np.frombuffer(b"./#?", np.uint8))  # a word that a letter follows
_DENSE = 32  # if more than one of so many characters may begin a match, `re` alone is faster


class Words(NamedTuple):
    """How the words of a list begin.

    Attributes:
        first: for each Latin-1 character, whether one begins with it, as a byte.
        ends: whether a hash is that of a word of 1, 2, ... characters, or of the first 8 of a longer one.
        goes_on: whether it is that of so many first characters of a longer word.
    """

    first: bytes
    ends: list[npt.NDArray[np.bool_]]
    goes_on: list[npt.NDArray[np.bool_]]


def compile_words(words: Iterable[str]) -> Words:
    ends, goes_on = ([np.zeros(1 << 16, np.bool_) for _ in range(_DEPTH)] for _ in range(2))
    first = bytearray(256)
    for word in words:
        head = np.frombuffer(word.encode("latin-1", "replace")[:_DEPTH], np.uint8)
        first[head[0]] = True
        keys = np.zeros(1, np.uint32)
        for depth in range(len(head)):
            keys = _with_next(keys, head[depth : depth + 1])
            (ends if depth + 1 == len(head) else goes_on)[depth][_hash(keys)] = True
    return Words(bytes(first), ends, goes_on)


def _with_next(keys: npt.NDArray[np.uint32], codes: Bytes) -> npt.NDArray[np.uint32]:
    return keys * np.uint32(0x01000193) + codes


def _hash(keys: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    return (keys * np.uint32(0x9E3779B1)) >> np.uint32(16)


class Searcher:
    """Finds the matches of patterns in texts, as `finditer` does."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts
        self._long = [number for number, text in enumerate(texts) if len(text) > _LONG]
        short = ["" if len(text) > _LONG else text for text in texts]
        joined = "\0".join([*short, "\0" * _DEPTH])
        self._content = joined.encode("latin-1", "replace")
        self._codes = np.frombuffer(self._content, np.uint8)
        self._lengths = np.array([len(text) for text in short], np.int64)
        self._begins = np.concatenate([np.zeros(1, np.int64), np.cumsum(self._lengths + 1)])
        self._of_class: dict[Class, Positions] = {}

    def find(self, pattern: re.Pattern[str], heads: Heads | None) -> Iterator[tuple[int, re.Match[str]]]:
        """The number of the text and the match, for each match; those of a text in order.

        Args:
            heads: every match of the pattern begins with one of these sequences of classes. None if that is not known,
                or if so many characters may come first that `re` alone is faster.
        """
        if heads is None or len(self._codes) < _FEW:
            yield from ((number, match) for number, text in enumerate(self._texts) for match in pattern.finditer(text))
            return
        yield from ((number, match) for number in self._long for match in pattern.finditer(self._texts[number]))
        begins: dict[tuple[Class, ...], Positions] = {}  # of heads and of what several heads begin with
        for head in heads:
            begins[head[:1]] = self._positions(head[0])
            for depth in range(1, len(head)):
                if head[: depth + 1] not in begins:
                    before = begins[head[:depth]]
                    begins[head[: depth + 1]] = before[_is_in(self._at(before, depth), head[depth])]
        yield from self._match_at(pattern, self._union([begins[head] for head in heads]), _DENSE)

    def find_words(self, pattern: re.Pattern[str], words: Words) -> Iterator[tuple[int, re.Match[str]]]:
        """The same for a pattern of a list of words, none of which may follow a letter or digit, nor precede a letter
        unless it ends in one of `./#`.
        """
        if len(self._codes) < _FEW:
            yield from ((number, match) for number, text in enumerate(self._texts) for match in pattern.finditer(text))
            return
        yield from ((number, match) for number in self._long for match in pattern.finditer(self._texts[number]))
        may_begin = np.frombuffer(self._content.translate(words.first), np.bool_)
        may_precede = np.frombuffer(b"\1" + self._content.translate(_MAY_PRECEDE), np.bool_)[:-1]
        positions = np.flatnonzero(may_begin & may_precede)
        keys = np.zeros(len(positions), np.uint32)
        listed: list[Positions] = []
        for depth, (ends, goes_on) in enumerate(zip(words.ends, words.goes_on, strict=True)):
            keys = _with_next(keys, self._at(positions, depth))
            hashes = _hash(keys)
            complete = positions[ends[hashes]]
            if depth + 1 < _DEPTH:
                may_end = _MAY_FOLLOW[self._at(complete, depth + 1)] | _MAY_END[self._at(complete, depth)]
                complete = complete[may_end]
            listed.append(complete)
            more = goes_on[hashes]
            positions, keys = positions[more], keys[more]
        yield from self._match_at(pattern, self._union(listed), _DENSE // 4)

    def _match_at(
        self, pattern: re.Pattern[str], positions: Positions, dense: int
    ) -> Iterator[tuple[int, re.Match[str]]]:
        positions = positions[: np.searchsorted(positions, self._begins[-1])]
        numbers = np.searchsorted(self._begins, positions, "right") - 1
        if self._long:  # what separates texts belongs to none, nor to a long one, which is empty here
            within = positions - self._begins[numbers] < self._lengths[numbers]
            positions, numbers = positions[within], numbers[within]
        is_dense = np.bincount(numbers, minlength=len(self._lengths)) * dense > self._lengths
        for number in np.flatnonzero(is_dense).tolist():
            yield from ((number, match) for match in pattern.finditer(self._texts[number]))
        if is_dense.any():
            sparse = ~is_dense[numbers]
            positions, numbers = positions[sparse], numbers[sparse]
        texts, match_at = self._texts, pattern.match
        last = end = -1
        for number, position in zip(numbers.tolist(), (positions - self._begins[numbers]).tolist(), strict=True):
            if (position >= end or number != last) and (match := match_at(texts[number], position)):
                yield number, match
                last, end = number, match.end()

    def _union(self, parts: list[Positions]) -> Positions:
        if len(parts) > 1 and sum(map(len, parts)) * _DENSE > len(self._codes):  # sorting would take longer
            mask = np.zeros(len(self._codes), np.bool_)
            for part in parts:
                mask[part] = True
            return np.flatnonzero(mask)
        return parts[0] if len(parts) == 1 else np.unique(np.concatenate(parts))

    def _at(self, positions: Positions, depth: int) -> Bytes:
        return self._codes[np.minimum(positions + depth, len(self._codes) - 1)]

    def _positions(self, first: Class) -> Positions:
        if first not in self._of_class:
            self._of_class[first] = np.flatnonzero(_is_in(self._codes, first))
        return self._of_class[first]


def _is_in(codes: Bytes, members: Class) -> npt.NDArray[np.bool_]:
    """Which bytes are members: a comparison per range of them, because these are vectorized and table look-ups not."""
    result = np.zeros(len(codes), np.bool_)
    edges = sorted(members)
    begins = [edges[0], *(after for before, after in pairwise(edges) if after > before + 1)]
    ends = [*(before for before, after in pairwise(edges) if after > before + 1), edges[-1]]
    for begin, last in zip(begins, ends, strict=True):
        result |= codes == begin if begin == last else codes - np.uint8(begin) <= last - begin
    return result


def compile_heads(heads: str) -> Heads:
    r"""How a match may begin, from alternatives of characters and classes: `Mr|M[si]|\d `."""
    return tuple(tuple(_members(one) for one in _ONE.findall(head)) for head in heads.split("|"))


def _members(one: str) -> Class:
    """The Latin-1 characters that a character or class matches, and the one that stands for all others."""
    matches = re.compile(one).match
    return frozenset(code for code in range(256) if matches(chr(code))) | {_ANY}
