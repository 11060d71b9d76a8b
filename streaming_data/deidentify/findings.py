"""What is replaced in a text: the findings of the audit, without overlaps and without the labels before them."""

import re
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

from ..locales.language import words
from ..locales.locale import LANGUAGES
from ..phi.patterns import Identifier
from ..phi.word_trie import any_of

_POSSIBLE = "possible_"
"""How kinds begin that the audit reports and does not count."""
_NAME_LABELS = ("titles", "names", "full_names", "people")
_OTHER_LABELS = ("numbers", "phones", "ages", "since")
_MORE_LABELS = words("mrn; medical record; medical record number; unit no; account; accession; patient id")


class Finding(NamedTuple):
    """A part of a text that is replaced.

    Attributes:
        kind: of the audit.
        start, end: of all that the audit found.
        value: where the identifier itself begins: behind a title or a label, which stays.
    """

    kind: str
    start: int
    end: int
    value: int


def merge(identifiers: Iterable[Identifier], text: str, possible: bool) -> list[Finding]:
    """The findings in order; those that overlap are one, of the kind of the longest.

    Args:
        possible: whether possible findings are among them, as those of their kind, or are left out.
    """
    merged: list[tuple[Identifier, int, int]] = []
    chosen = [one._replace(kind=one.kind.removeprefix(_POSSIBLE)) for one in identifiers
              if possible or not one.kind.startswith(_POSSIBLE)]  # fmt: skip
    for identifier in sorted(chosen, key=lambda one: (one.start, -one.end)):
        if merged and identifier.start < merged[-1][2]:
            longest, start, end = merged.pop()
            longest = max(longest, identifier, key=lambda one: one.end - one.start)
            merged.append((longest, start, max(end, identifier.end)))
        else:
            merged.append((identifier, identifier.start, identifier.end))
    return [
        Finding(longest.kind, start, end, _value(longest.kind, text, start, end))
        for longest, start, end in merged
        if text[start:end].strip(" _\n")
    ]


def _value(kind: str, text: str, start: int, end: int) -> int:
    """Where the identifier begins: behind labels, if anything is left behind them."""
    at, labels = start, _labels(_NAME_LABELS if kind == "name" else _OTHER_LABELS)
    while (match := labels.match(text, at, end)) and match.end() < end:
        at = match.end()
    return at


@cache
def _labels(attributes: tuple[str, ...]) -> re.Pattern[str]:
    cues = {cue for language in LANGUAGES.values() for name in attributes for cue in getattr(language, name)}
    cues |= set(_MORE_LABELS)
    forms = cues | {cue.rstrip(".") for cue in cues}
    return re.compile(rf"(?:{any_of(forms)})(?![^\W_])[.:=#°º \t\xa0]+", re.IGNORECASE)
