"""Where sentences end, in the languages of a text."""

import re
from collections.abc import Sequence
from functools import cache

from .locale import languages_of

_ENDS = re.compile(r"[.!?][\"')\]]*(?=\s)|\n")
_ENDS_WITH_QUOTES = re.compile(r"[.!?…](?:[ \xa0\u202f]?[»›]|[\"')\]“”’])*(?=\s)|\n")
_LAST_WORD = re.compile(r"[^\s(\[/\"'„“«»‚‘;,:]+\Z")
_LONGEST_WORD = 24


def sentence_ends(text: str, locales: Sequence[str]) -> list[int]:
    """The positions behind the sentences and lines of a text.

    In text of a known language, a dot after an abbreviation, an initial or (where this makes it ordinal) a number does
    not end a sentence. Otherwise every dot before a space does.
    """
    if not locales:
        return [match.end() for match in _ENDS.finditer(text)]
    abbreviations, ordinals = _dotted(tuple(locales))
    return [
        match.end()
        for match in _ENDS_WITH_QUOTES.finditer(text)
        if match[0][0] != "." or not _is_abbreviated(text, match.start(), abbreviations, ordinals)
    ]


@cache
def _dotted(locales: tuple[str, ...]) -> tuple[frozenset[str], bool]:
    """The abbreviations of the languages, and whether a dot may make a number ordinal."""
    languages = languages_of(locales)
    return (
        frozenset(word for language in languages for word in language.abbreviations),
        any(language.ordinal_dot for language in languages),
    )


def _is_abbreviated(text: str, dot: int, abbreviations: frozenset[str], ordinals: bool) -> bool:
    """Whether the word before the dot is an abbreviation, an initial or an ordinal number."""
    match = _LAST_WORD.search(text, max(0, dot - _LONGEST_WORD), dot)
    if not match:
        return False
    word = match[0]
    if word.isdigit():
        return ordinals and len(word) <= 2
    return (len(word) == 1 and word.isupper()) or word.lower() in abbreviations
