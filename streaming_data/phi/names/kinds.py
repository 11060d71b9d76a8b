"""Names as findings of the audit: certain ones count like any identifier, possible ones are only reported."""

from collections.abc import Sequence

from .finder import find_names, load_finder

NAME, POSSIBLE_NAME = "name", "possible_name"


def find_kinds_of_names(texts: Sequence[str], locales: Sequence[str]) -> list[list[tuple[str, int, int]]]:
    """Of each text the kinds of the names found, and their positions in characters.

    Args:
        locales: of the texts. Without one they are taken for English; names are certain only if the words of one of
            the languages were counted.
    """
    finder = load_finder()
    least = finder.settings.certain if are_counted(locales) else float("inf")
    return [
        [(NAME if name.probability >= least else POSSIBLE_NAME, name.start, name.end) for name in found]
        for found in find_names(texts, finder)
    ]


def are_counted(locales: Sequence[str]) -> bool:
    """Whether the words of one of the texts' languages were counted: without that, few of the names found are names."""
    languages = {locale.split("_")[0] for locale in locales} or {"en"}
    return bool(languages & set(load_finder().settings.languages))
