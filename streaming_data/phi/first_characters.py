"""Where in many texts a regular expression can match at all, by the first characters that it requires.

Python's `re` reads every text once per pattern, a character at a time. The first characters of a pattern, found in its
syntax tree, are compared with all texts at once by numpy instead, and `re` is asked only where they occur. A pattern
whose tree is not understood is searched as usual, so nothing depends on this but time.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Bytes: TypeAlias = "npt.NDArray[np.uint8]"
Positions: TypeAlias = "npt.NDArray[np.int64]"
Class: TypeAlias = frozenset[int]
Trie: TypeAlias = dict[Class, "Trie"]

_DEPTH = 4
_MOST_HEADS = 200
_MOST_FIRST = 40  # characters: if more may come first, `re` alone is faster
_ANY = ord("?")  # what a character beyond Latin-1 is encoded as: it may be of any class
_LONG = 1 << 19  # characters: a longer text is searched by `re` alone, which needs no memory
_FEW = 1 << 15  # characters: below, `re` alone is faster
_DENSE = 32  # if more than one of so many characters may begin a match, `re` alone is faster


class NotUnderstoodError(Exception):
    """The syntax tree has something that is not handled here."""


class Searcher:
    """Finds the matches of patterns in texts, as `finditer` does."""

    def __init__(self, texts: Sequence[str]) -> None:
        self._texts = texts
        self._long = [number for number, text in enumerate(texts) if len(text) > _LONG]
        short = ["" if len(text) > _LONG else text for text in texts]
        joined = "\0".join([*short, "\0" * _DEPTH])
        self._codes = np.frombuffer(joined.encode("latin-1", "replace"), np.uint8)
        self._begins = np.cumsum([0, *(len(text) + 1 for text in short)])
        self._of_class: dict[Class, Positions] = {}

    def find(self, pattern: re.Pattern[str], heads: "Trie | None") -> Iterator[tuple[int, re.Match[str]]]:
        """The number of the text and the match, for each match; those of a text in order. `heads` is the pattern's."""
        if heads is None or len(self._codes) < _FEW:
            yield from ((number, match) for number, text in enumerate(self._texts) for match in pattern.finditer(text))
            return
        yield from ((number, match) for number in self._long for match in pattern.finditer(self._texts[number]))
        may_begin = np.zeros(len(self._codes), np.bool_)
        for first, rest in heads.items():
            may_begin[self._follow(self._positions(first), 1, rest)] = True
        positions = np.flatnonzero(may_begin)
        bounds = np.searchsorted(positions, self._begins)
        for number in np.flatnonzero(np.diff(bounds)).tolist():
            inside = positions[bounds[number] : bounds[number + 1]] - self._begins[number]
            yield from ((number, match) for match in _matches(pattern, self._texts[number], inside))

    def _positions(self, first: Class) -> Positions:
        if first not in self._of_class:
            self._of_class[first] = np.flatnonzero(_is_in(self._codes, first))
        return self._of_class[first]

    def _follow(self, positions: Positions, depth: int, rest: Trie) -> Positions:
        """The positions at which one of the trie's branches follows, `depth` characters later."""
        if not rest or not len(positions):
            return positions
        following = self._codes[np.minimum(positions + depth, len(self._codes) - 1)]
        return np.concatenate(
            [self._follow(positions[_is_in(following, one)], depth + 1, branch) for one, branch in rest.items()]
        )


def _matches(pattern: re.Pattern[str], text: str, positions: Positions) -> Iterator[re.Match[str]]:
    if len(positions) * _DENSE > len(text):
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


def heads_of(pattern: re.Pattern[str]) -> "Trie | None":
    """The sequences of characters with which a match may begin, as a trie of classes; None if any character may."""
    try:
        from re import _parser as parser  # type: ignore[attr-defined]
    except ImportError:  # before Python 3.11
        import sre_parse as parser
    try:
        tree = parser.parse(pattern.pattern, pattern.flags)
        heads = _extend([()], list(tree), bool(pattern.flags & re.IGNORECASE))
    except NotUnderstoodError:
        return None
    trie: Trie = {}
    for head in heads:
        if not head or len(head[0]) > _MOST_FIRST:
            return None
        branch = trie
        for members in head:
            branch = branch.setdefault(members, {})
    return _cut(trie, heads)


def _cut(trie: Trie, heads: Iterable[tuple[Class, ...]]) -> Trie:
    """Without what follows the end of a shorter head: a match may begin with that alone."""
    for head in heads:
        branch = trie
        for members in head[:-1]:
            branch = branch.get(members, {})
        if len(head) < _DEPTH and head[-1] in branch:
            branch[head[-1]] = {}
    return trie


def _extend(heads: list[tuple[Class, ...]], items: Iterable[tuple[Any, Any]], ignore_case: bool) -> list[Any]:
    """All ways in which the items may go on after the heads, up to `_DEPTH` characters.

    Raises:
        NotUnderstoodError: there is an item of an unknown kind, or there are too many ways.
    """
    for kind, value in items:
        if min(map(len, heads)) == _DEPTH:
            break
        name = str(kind)
        if name in ("LITERAL", "IN"):
            members = _members([(kind, value)] if name == "LITERAL" else value, ignore_case)
            heads = [(*head, members)[:_DEPTH] for head in heads]
        elif name == "BRANCH":
            heads = [more for branch in value[1] for more in _extend(heads, branch, ignore_case)]
        elif name == "SUBPATTERN":
            _, added, removed, inner = value
            heads = _extend(heads, inner, (ignore_case or bool(added & re.IGNORECASE)) and not removed & re.IGNORECASE)
        elif name in ("MAX_REPEAT", "MIN_REPEAT"):
            least, most, inner = value
            repeated = _extend_times(heads, inner, least, ignore_case)
            heads = list(repeated)
            for _ in range(min(int(most) - least, _DEPTH)):
                repeated = _extend(repeated, inner, ignore_case)
                heads += repeated
        elif name not in ("ASSERT", "ASSERT_NOT", "AT"):
            raise NotUnderstoodError(name)
        heads = list(dict.fromkeys(heads))
        if len(heads) > _MOST_HEADS:
            raise NotUnderstoodError("too many ways to begin")
    return heads


def _extend_times(heads: list[Any], items: Any, times: int, ignore_case: bool) -> list[Any]:
    for _ in range(min(times, _DEPTH)):
        heads = _extend(heads, items, ignore_case)
    return heads


def _members(items: Iterable[tuple[Any, Any]], ignore_case: bool) -> Class:
    """The Latin-1 characters of a class, and the one that stands for all others."""
    members: set[int] = set()
    for kind, value in items:
        name = str(kind)
        if name == "LITERAL":
            members.add(value)
        elif name == "RANGE":
            members.update(range(value[0], value[1] + 1))
        elif name == "CATEGORY" and str(value) in _CATEGORIES:
            matches = re.compile(_CATEGORIES[str(value)]).match
            members.update(code for code in range(256) if matches(chr(code)))
        else:
            raise NotUnderstoodError(name)
    for _ in range(2 * ignore_case):  # ſ, S, s
        cases = (case for code in members for case in (chr(code).lower(), chr(code).upper()))
        members |= {ord(case) for case in cases if len(case) == 1}
    return frozenset(code for code in members if code < 256) | {_ANY}


_CATEGORIES = {
    "CATEGORY_DIGIT": r"\d",
    "CATEGORY_NOT_DIGIT": r"\D",
    "CATEGORY_SPACE": r"\s",
    "CATEGORY_NOT_SPACE": r"\S",
    "CATEGORY_WORD": r"\w",
    "CATEGORY_NOT_WORD": r"\W",
}
