"""Names of months: which month a word is, and another month in the same language and style."""

from functools import cache

from ..locales.locale import LANGUAGES, languages_of

# How the names of each month begin, in the languages of the audit and their neighbors. The longest that fits decides.
_BEGINNINGS = (
    ("jan", "jän", "jae", "gen", "ene", "tammi"),
    ("feb", "fév", "fev", "helmi"),
    ("mar", "mär", "mae", "mrz", "mrt", "maa"),
    ("apr", "avr", "abr", "huhti"),
    ("may", "mai", "mag", "mei", "maj", "touko"),
    ("jun", "juin", "giu", "kesä"),
    ("jul", "juil", "lug", "heinä"),
    ("aug", "aoû", "aou", "ago", "elo"),
    ("sep", "set", "syys"),
    ("oct", "okt", "ott", "out", "loka"),
    ("nov", "marras"),
    ("dec", "déc", "dez", "dic", "des", "joulu"),
)
_BY_LENGTH = sorted(
    ((beginning, month) for month, beginnings in enumerate(_BEGINNINGS, 1) for beginning in beginnings),
    key=lambda one: -len(one[0]),
)


def month_of(word: str) -> int | None:
    """1 to 12, if the audit knows the word as the name of a month."""
    folded = word.lower()
    if not any(folded in language.months for language in LANGUAGES.values()):
        return None
    return _month(folded)


def name_month(month: int, like: str, locales: tuple[str, ...], short: bool) -> str:
    """The name of a month in the language, length and case of another one's, which the audit knows.

    Args:
        short: whether a name without an abbreviation, such as May, counts as one.
    """
    folded = like.lower()
    for months in _lists(locales):
        if folded in months:
            own = [name for name in months if _month(name) == _month(folded)]
            names = [name for name in months if _month(name) == month]
            is_long = folded == max(own, key=len) and not (short and folded == min(own, key=len))
            name = max(names, key=len) if is_long else min(names, key=len)
            return name.upper() if like.isupper() else name.capitalize() if like[0].isupper() else name
    raise ValueError("not the name of a month")


def _month(folded: str) -> int | None:
    return next((month for beginning, month in _BY_LENGTH if folded.startswith(beginning)), None)


@cache
def _lists(locales: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The names of months, those of the text's languages and of English first, of languages with all twelve."""
    languages = [*languages_of(locales), *LANGUAGES.values()]
    languages.sort(key=lambda one: 0 if one in languages_of(locales) else 1 if one is LANGUAGES["en"] else 2)
    return [one.months for one in languages if {_month(name) for name in one.months} >= set(range(1, 13))]
