"""Suggest the closest match for a misspelled name."""

import difflib
from collections.abc import Iterable

_LONGEST = 200
"""Characters of a word from outside that is compared; the time is quadratic in it."""


def nearest_name(word: str, known: Iterable[str]) -> str | None:
    """Return the entry of `known` closest to `word`, ignoring case; None if none is close."""
    if len(word) > _LONGEST:
        return None
    spelled = {name.lower(): name for name in known}
    # 0.5 rather than difflib's 0.6, so that swapped letters in a two-letter name still match.
    close = difflib.get_close_matches(word.lower(), spelled, n=1, cutoff=0.5)
    return spelled[close[0]] if close else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean ...?` with the closest entry of `known`; empty if none is close."""
    close = nearest_name(word, known)
    return f"; did you mean {close}?" if close else ""
