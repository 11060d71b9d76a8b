"""Schemes of entity tags: found from the tags of a complete file, converted to chunks of words, and back.

Every scheme is read by one rule, that of conlleval: a chunk begins with B or S, or with I or E after O, after another
type or after the end of a chunk. So IOB1, IOB2, IOE1, IOE2 and BIOES give the same chunks for the same entities. Which
scheme a file has matters for writing it, and for noticing tags that do not follow it.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

UNTYPED = "entity"
"""The type of chunks whose tags have none (B, I, O)."""

_LETTERS = {"B": "B", "I": "I", "M": "I", "E": "E", "L": "E", "S": "S", "U": "S", "W": "S"}
"""Of the schemes BIOES, BILOU, BMES and BMEWO, each with its meaning in BIOES."""
_ANY = "".join(_LETTERS)
STYLES = {
    "B-TYPE": re.compile(rf"(?P<letter>[{_ANY}])-(?P<type>\S+)"),
    "B_TYPE": re.compile(rf"(?P<letter>[{_ANY}])_(?P<type>\S+)"),
    "TYPE-B": re.compile(rf"(?P<type>\S+)-(?P<letter>[{_ANY}])"),
    "TYPE_B": re.compile(rf"(?P<type>\S+)_(?P<letter>[{_ANY}])"),
    "B": re.compile(rf"(?P<letter>[{_ANY}])(?P<type>)"),
}


class Tag(NamedTuple):
    """A tag: its letter in BIOES, or O, and its type."""

    letter: str
    type: str


class Chunk(NamedTuple):
    """Words [start, end), and their type."""

    start: int
    end: int
    type: str


class Scheme(NamedTuple):
    """How the tags of a file are written.

    Attributes:
        name: IOB1, IOB2, IOE1, IOE2 or BIOES.
        style: where the type is, such as `B-TYPE`.
        letters: those of the file for I, E and S of BIOES.
    """

    name: str = "IOB2"
    style: str = "B-TYPE"
    letters: tuple[str, str, str] = ("I", "E", "S")

    def __str__(self) -> str:
        return self.name if self.style == "B-TYPE" else f"{self.name} in the form {self.style}"


@lru_cache(maxsize=1 << 12)  # files have few tags
def parse_tag(tag: str, style: str) -> Tag | None:
    """The meaning of a tag in a style; None if it is no such tag."""
    if tag == "O":
        return Tag("O", "")
    match = STYLES[style].fullmatch(tag)
    return Tag(_LETTERS[match["letter"]], match["type"] or UNTYPED) if match else None


def find_style(tags: Counter[str]) -> str | None:
    """The style that most of these tags have; None if less than half of them have one, so that they are no tags."""
    fits = {style: sum(count for tag, count in tags.items() if parse_tag(tag, style)) for style in STYLES}
    best = max(fits, key=lambda style: fits[style])
    return best if 2 * fits[best] > sum(tags.values()) else None


def find_scheme(tags: Iterable[str], sentences: Iterable[Sequence[Tag]], style: str) -> tuple[Scheme, int, int]:
    """The scheme of the tags of a file, how many chunks do not follow it, and the sentence of the first of these.

    A file without such a chunk has -1 as sentence.
    """
    used = Counter(match["letter"] for tag in tags if (match := STYLES[style].fullmatch(tag)))
    meanings = {_LETTERS[letter] for letter in used}
    names = ["BIOES"] if "S" in meanings or {"B", "E"} <= meanings else ["IOE2", "IOE1"] if "E" in meanings else []
    names = names or (["IOB2", "IOB1"] if "B" in meanings or not meanings else ["IOB1"])
    wrong = {name: [0, -1] for name in names}
    for number, sentence in enumerate(sentences):
        chunks = chunks_of(sentence)
        for name in names if chunks else ():
            if tags_differ := _violations(sentence, chunks, name):
                wrong[name][1] = number if wrong[name][0] == 0 else wrong[name][1]
                wrong[name][0] += tags_differ
    name = min(names, key=lambda name: wrong[name][0])
    inside, end, single = (
        max((letter for letter in _LETTERS if _LETTERS[letter] == meaning), key=lambda letter: used[letter])
        for meaning in "IES"
    )
    if name == "BIOES" and end == "L" and not used["S"]:
        single = "U"  # BILOU without an entity of one word
    return Scheme(name, style, (inside, end, single)), wrong[name][0], wrong[name][1]


def chunks_of(tags: Sequence[Tag]) -> list[Chunk]:
    """The chunks of a sentence, by the rule of this module."""
    chunks: list[Chunk] = []
    start, before = 0, Tag("O", "")
    for number, tag in enumerate([*tags, Tag("O", "")]):
        if not (tag.letter in ("I", "E") and before.letter in ("B", "I") and tag.type == before.type):
            if before.letter != "O":
                chunks.append(Chunk(start, number, before.type))
            start = number
        before = tag
    return chunks


def letters_of(chunks: Sequence[Chunk], count: int, scheme: str) -> list[Tag]:
    """The tags of `count` words for chunks in ascending order that do not overlap."""
    tags = [Tag("O", "")] * count
    touching = [before.end == after.start and before.type == after.type for before, after in pairwise(chunks)]
    for chunk, before, after in zip(chunks, [False, *touching], [*touching, False], strict=False):
        letters = _WRITE[scheme](chunk.end - chunk.start, before, after)
        tags[chunk.start : chunk.end] = [Tag(letter, chunk.type) for letter in letters]
    return tags


def write_tag(tag: Tag, scheme: Scheme) -> str:
    """A tag in the letters and the style of a scheme."""
    if tag.letter == "O":
        return "O"
    letter = dict(zip("BIES", ("B", *scheme.letters), strict=True))[tag.letter]
    if scheme.style == "B":
        return letter
    separator = "_" if "_" in scheme.style else "-"
    return f"{letter}{separator}{tag.type}" if scheme.style.startswith("B") else f"{tag.type}{separator}{letter}"


def iob2(chunks: Sequence[Chunk], count: int) -> list[str]:
    """The tags of `count` words in IOB2."""
    return [write_tag(tag, Scheme()) for tag in letters_of(chunks, count, "IOB2")]


_WRITE: dict[str, Callable[[int, bool, bool], str]] = {
    "IOB2": lambda size, before, after: "B" + "I" * (size - 1),
    "IOB1": lambda size, before, after: ("B" if before else "I") + "I" * (size - 1),
    "IOE2": lambda size, before, after: "I" * (size - 1) + "E",
    "IOE1": lambda size, before, after: "I" * (size - 1) + ("E" if after else "I"),
    "BIOES": lambda size, before, after: "S" if size == 1 else "B" + "I" * (size - 2) + "E",
}
"""Of each scheme, the letters of a chunk of so many words, given whether it touches one of its type before it, and one
after it."""


def _violations(tags: Sequence[Tag], chunks: Sequence[Chunk], scheme: str) -> int:
    """How many chunks a scheme writes with other letters."""
    written = letters_of(chunks, len(tags), scheme)
    return sum(written[chunk.start : chunk.end] != list(tags[chunk.start : chunk.end]) for chunk in chunks)
