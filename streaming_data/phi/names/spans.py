"""Words that are names, joined to names: `van der Berg, Anna M.` is one."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from .words import WORD

_JOINS = set(",.-–'’")
_PARTICLES = {
    *("van", "von", "der", "den", "de", "del", "della", "di", "da", "do", "dos", "das", "du", "la", "le", "el", "al"),
    *("bin", "ibn", "ben", "of", "zu", "zum", "y", "e", "af", "av"),
}
_MOST_BETWEEN = 4  # words between two words of a name
_MOST_CHARACTERS = 24


class NameSpan(NamedTuple):
    """Where a possible name is in its text, in characters, and the probability that one of its words is a name."""

    start: int
    end: int
    probability: float


def join(text: str, words: Mapping[int, float], offset: int = 0) -> list[NameSpan]:
    """The names in a text.

    Args:
        words: the numbers of the words that are parts of names, in order, and their probabilities.
        offset: is added to all positions.
    """
    found: list[NameSpan] = []
    between: list[str] = []
    last = max(words)
    for number, match in enumerate(WORD.finditer(text)):
        if number > last:
            break
        if number not in words:
            between.append(match[0])
            continue
        new = NameSpan(match.start() + offset, match.end() + offset, words[number])
        if found and new.start - found[-1].end <= _MOST_CHARACTERS and _joins(between):
            neither = (1 - found[-1].probability) * (1 - new.probability)
            found[-1] = NameSpan(found[-1].start, new.end, 1 - neither)
        else:
            found.append(new)
        between = []
    return found


def _joins(between: Sequence[str]) -> bool:
    """Whether these words may be inside a name: at most one end of a line, initials, particles, few signs."""
    if len(between) > _MOST_BETWEEN or between.count("\n") > 1:
        return False
    return all(
        word in _JOINS or word == "\n" or word.lower() in _PARTICLES or (len(word) == 1 and word.isupper())
        for word in between
    )
