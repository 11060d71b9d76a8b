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

_DEPTH = 4
_ONE = re.compile(r"\[[^]]*\]|\\.|.")
_ANY = ord("?")  # what a character beyond Latin-1 is encoded as: it may be of any class
_LONG = 1 << 19  # characters: a longer text is searched by `re` alone, which needs no memory
_FEW = 1 << 15  # characters: below, `re` alone is faster
_MAY_PRECEDE = bytes(not chr(code).isalnum() or code == _ANY for code in range(256))  # a word
_DENSE = 32  # if more than one of so many characters may begin a match, `re` alone is faster


class Words(NamedTuple):
    """How the words of a list begin.

    Attributes:
        first: for each Latin-1 character, whether one begins with it, as a byte.
        prefixes: whether a hash is that of a word of 1, 2, 3 characters, or of the first 4 of a longer one.
    """

    first: bytes
    prefixes: list[npt.NDArray[np.bool_]]


def compile_words(words: Iterable[str]) -> Words:
    prefixes = [np.zeros(1 << 16, np.bool_) for _ in range(_DEPTH)]
    first = bytearray(256)
    for word in words:
        head = word.encode("latin-1", "replace")[:_DEPTH]
        first[head[0]] = True
        prefixes[len(head) - 1][_hash(np.array([int.from_bytes(head, "little")], np.uint32))] = True
    return Words(bytes(first), prefixes)


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
        self._begins = np.cumsum([0, *(len(text) + 1 for text in short)])
        self._of_class: dict[Class, Positions] = {}

    def find(self, pattern: re.Pattern[str], heads: Heads | None) -> Iterator[tuple[int, re.Match[str]]]:
        """The number of the text and the match, for each match; those of a text in order.

        Args:
            heads: every match of the pattern begins with one of these sequences, each of up to 4 classes. None if
                that is not known, or if so many characters may come first that `re` alone is faster.
        """
        if heads is None or len(self._codes) < _FEW:
            yield from ((number, match) for number, text in enumerate(self._texts) for match in pattern.finditer(text))
            return
        yield from ((number, match) for number in self._long for match in pattern.finditer(self._texts[number]))
        may_begin = np.zeros(len(self._codes), np.bool_)
        for first, *following in heads:
            begins = self._positions(first)
            for depth, members in enumerate(following, start=1):
                begins = begins[_is_in(self._codes[np.minimum(begins + depth, len(self._codes) - 1)], members)]
            may_begin[begins] = True
        yield from self._match_at(pattern, np.flatnonzero(may_begin), _DENSE)

    def find_words(self, pattern: re.Pattern[str], words: Words) -> Iterator[tuple[int, re.Match[str]]]:
        """The same for a pattern of a list of words, none of which may follow a letter or digit."""
        if len(self._codes) < _FEW:
            yield from ((number, match) for number, text in enumerate(self._texts) for match in pattern.finditer(text))
            return
        yield from ((number, match) for number in self._long for match in pattern.finditer(self._texts[number]))
        may_begin = np.frombuffer(self._content.translate(words.first), np.bool_)
        may_precede = np.frombuffer(b"\1" + self._content.translate(_MAY_PRECEDE), np.bool_)[:-1]
        positions = np.flatnonzero(may_begin & may_precede)
        keys = np.zeros(len(positions), np.uint32)
        listed = np.zeros(len(positions), np.bool_)
        for depth in range(_DEPTH):
            following = self._codes[np.minimum(positions + depth, len(self._codes) - 1)]
            keys |= following.astype(np.uint32) << np.uint32(8 * depth)
            listed |= words.prefixes[depth][_hash(keys)]
        yield from self._match_at(pattern, positions[listed], _DENSE // 4)

    def _match_at(
        self, pattern: re.Pattern[str], positions: Positions, dense: int
    ) -> Iterator[tuple[int, re.Match[str]]]:
        bounds = np.searchsorted(positions, self._begins)
        for number in np.flatnonzero(np.diff(bounds)).tolist():
            inside = positions[bounds[number] : bounds[number + 1]] - self._begins[number]
            yield from ((number, match) for match in _matches(pattern, self._texts[number], inside, dense))

    def _positions(self, first: Class) -> Positions:
        if first not in self._of_class:
            self._of_class[first] = np.flatnonzero(_is_in(self._codes, first))
        return self._of_class[first]


def _matches(pattern: re.Pattern[str], text: str, positions: Positions, dense: int) -> Iterator[re.Match[str]]:
    if len(positions) * dense > len(text):
        yield from pattern.finditer(text)
        return
    end = 0
    for position in positions.tolist():
        if position >= end and (match := pattern.match(text, position)):
            yield match
            end = match.end()


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
    r"""How a match may begin, from alternatives of up to four characters and classes: `Mr|M[si]|\d `."""
    return tuple(tuple(_members(one) for one in _ONE.findall(head)) for head in heads.split("|"))


def _members(one: str) -> Class:
    """The Latin-1 characters that a character or class matches, and the one that stands for all others."""
    matches = re.compile(one).match
    return frozenset(code for code in range(256) if matches(chr(code))) | {_ANY}
