"""Identifiers in the forms of eleven languages and nineteen countries."""

from collections.abc import Sequence
from itertools import chain

from .cues import Found, compile_cues, find_after_cues
from .first_characters import Searcher
from .local_numbers import compile_forms, find_local_numbers
from .partial_dates import find_partial_dates

LOCAL_KINDS = ("national_number", "postcode")
"""Kinds beside those of `patterns.py`."""

_PLAIN = {"\xa0": " ", "\u2007": " ", "\u202f": " ", "\u2010": "-", "\u2011": "-", "\u2019": "'"}


def plain_characters(text: str) -> str:
    """The text with common spaces, hyphens and apostrophes instead of typographic ones, at the same positions."""
    if not text.isascii():
        for character, plain in _PLAIN.items():
            text = text.replace(character, plain)
    return text


def find_local_forms(texts: Sequence[str], locales: Sequence[str]) -> list[list[Found]]:
    """What has a local form in each text, in no order; parts may overlap.

    Args:
        texts: with plain characters.
        locales: of the texts. Forms that are doubtful elsewhere count in their languages and countries.
    """
    languages = tuple(dict.fromkeys(locale.split("_")[0] for locale in locales))
    countries = tuple(dict.fromkeys(locale.split("_")[1] for locale in locales))
    folded = [text.replace("İ", "I").lower() for text in texts]  # the only character whose lower case is longer
    in_texts, in_folded = Searcher(texts), Searcher(folded)
    found: list[list[Found]] = [[] for _ in texts]
    for number, one in chain(
        find_after_cues(compile_cues(languages), texts, in_folded),
        find_partial_dates(languages, texts, folded, in_texts, in_folded),
        find_local_numbers(compile_forms(languages, countries), texts, folded, in_texts, in_folded),
    ):
        found[number].append(one)
    return found
