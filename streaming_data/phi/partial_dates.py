"""Dates without a day (`March 2019`, `ED 03/23`) and dates without a year (`3. März`, `vom 19.3.`, `on 3/14`).

Safe Harbor counts both. The name of a month is enough where it is no other word. Two numbers are also a fraction, a
score or a decimal: they count behind a word that a date follows, and no other text is taken for one.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cache

from ..locales.language import words
from ..locales.locale import LANGUAGES
from .cues import Found
from .first_characters import Heads, Searcher, compile_heads
from .word_trie import any_of

DAY, YEAR = r"(?:0?[1-9]|[12]\d|3[01])", r"(?:19|20)\d\d"
ORDINAL = "(?:st|nd|rd|th|er|re|º|ª|°|:e|o)?"
OF = "(?:del? (?:año )?|of |di |d'|do )?"
DAY_BEFORE = re.compile(r"(?<![\w.,])[0-3]?\d\Z")

_ALSO_WORDS = frozenset(("ago", "des", "elo", "gen", "loka", "mag", "mar", "may", "out", "set", "tammi"))
_FOUR_DIGITS = re.compile(r"[12][09]\d\d(?<=(?:19|20)\d\d)(?<!\d\d{4})(?!\d)")
_FOUR_DIGITS_HEADS = compile_heads(r"[12][09]\d\d")
_BEFORE_YEAR = 30

# Behind these, two numbers are a date in any text: `seit 3/19`, `dx 03/2019`.
_TIMES = words(
    "since; dated; dx; dx'd; diagnosed; diagnosed in; diagnosed on; admitted; admitted on; discharged on; seen on; dob;"
    "d.o.b.; born; last seen; date; date of birth; adm; d/c; s/p mva; seit; seit dem; ed; ed.; erstdiagnose; em; ez;"
    "op; op am; zuletzt; letztmals; geb.; geb; vom; datum; depuis; depuis le; né le; née le; date de naissance; desde;"
    "desde el; fecha; nacido el; nacida el; sinds; d.d.; gezien op; geboren; sedan; född; siden; født; dal; dall';"
    "nato il; nata il; data; nascido em; alkaen; synt.; pvm"
)
_WEAK = frozenset(words("of; by; de; del; di; van; von; der; a; em; en; per; tot"))
_NOT_A_DATE = (
    r"(?!\w|[/%°]|[.,-]\d| ?(?:%|(?:of|de|der|von|des|di|van|av|mg|ml|h|hrs?|mm|cm|kg|l|tab\w*|dose\w*|strength|"
    r"normal|patients?|cases?|patienten|fällen|occasions?|times|leads|lobes?|positive|pain|power|murmur|sem)\b))"
)
_TWO_NUMBERS = re.compile(rf"[0-9](?:/\d{{1,2}}{_NOT_A_DATE}|\.(?:0?[1-9]|1[0-2])\.(?![\d,]|\.\d))")
_TWO_NUMBERS_HEADS = compile_heads(r"[0-9]/[0-9]|[0-9]\.[0-9]\.|[0-9]\.[0-9][0-9]\.")
_DOT_LOST = re.compile(  # `am 12.03 um`, in text of a language that writes `am 12.03.`
    r"(?<![^\W_])(?:am|vom|zum|seit dem|den|d\.|fra den|til den) (?P<date>[0-3]?\d\.(?:0?[1-9]|1[0-2]))(?!\w|[.,/%°]"
    r"| ?(?:%|uhr|kl|[mµ]?g\b|[mdc]?l\b|[mc]?m\b|mmol|u\b|i?e\b))"
)
_DOT_LOST_HEADS = compile_heads(r"am [0-9]|vom [0-9]|zum [0-9]|seit dem|den [0-9]|d\. [0-9]|fra den|til den")
_DOT_LOST_LANGUAGES = frozenset(("de", "da", "nb", "sv"))
_BEFORE_NUMBERS = 24
_DOT_RANGE = re.compile(r"\d\.(?:\d{1,2}\.)? ?(?:-|–|und|/) ?\Z")
_DOT_RANGE_BEGIN = re.compile(r" ?(?:bis|-|–|til|tot) ?(?:zum )?\d{1,2}\.\d{1,2}\.")
_LINE_BEGIN = re.compile(r"(?:\A|\n)[ \t*-]*\Z")


def months(languages: Iterable[str]) -> str:
    """A pattern of their names and abbreviations."""
    return any_of(month for code in languages for month in LANGUAGES[code].months) + r"\.?"


def find_partial_dates(
    languages: tuple[str, ...], texts: Sequence[str], folded: Sequence[str], in_texts: Searcher, in_folded: Searcher
) -> Iterator[tuple[int, Found]]:
    """Dates of which a month's name or a word before them tells what they are, with the number of the text.

    Args:
        languages: of the texts. Short names of their months count in any case, and more words before numbers.
    """
    own = {month for code in languages for month in LANGUAGES[code].months if (code, month) != ("en", "may")}
    for number, year in in_texts.find(_FOUR_DIGITS, _FOUR_DIGITS_HEADS):
        before = max(0, year.start() - _BEFORE_YEAR)
        match = _before_year().search(folded[number], before, year.start())
        if match and (not match["alone"] or _is_month(texts[number], match.span("alone"), own)):
            yield number, Found("date", match.start(), year.end())
    for number, match in in_folded.find(_after_day(), _after_day_heads()):
        day = DAY_BEFORE.search(folded[number], max(0, match.start() - 1), match.start() + 1)
        if day and (match["year"] or _is_month(texts[number], match.span("month"), own)):
            yield number, Found("date", day.start(), match.end())
    if not _DOT_LOST_LANGUAGES.isdisjoint(languages):
        for number, match in in_folded.find(_DOT_LOST, _DOT_LOST_HEADS):
            yield number, Found("date", *match.span("date"))
    cues = _cues(languages)
    for number, match in in_folded.find(_TWO_NUMBERS, _TWO_NUMBERS_HEADS):
        day = DAY_BEFORE.search(folded[number], max(0, match.start() - 1), match.start() + 1)
        if day and _follows_a_cue(folded[number], day.start(), match.end(), cues):
            yield number, Found("date", day.start(), match.end())


def _is_month(text: str, span: tuple[int, int], own: set[str]) -> bool:
    """Whether the word is the name of a month and no other word, except in text of its language."""
    word = text[span[0] : span[1]].rstrip(".")
    return word.lower() not in _ALSO_WORDS or word in ("Mar", "MAR", "May", "MAY") or word.lower() in own


@cache
def _before_year() -> re.Pattern[str]:
    """The day and month, in either order, or the month alone."""
    month = months(LANGUAGES)
    return re.compile(
        rf"(?<![\w.,])(?:{DAY}{ORDINAL}[ .\n/-]{{0,2}}{OF}(?:{month})"
        rf"|(?:{month})[ ./-]{{0,2}}{DAY}{ORDINAL}|(?P<alone>{month}))"
        rf"[ \n.,/'-]{{0,3}}{OF}\Z"
    )


@cache
def _after_day() -> re.Pattern[str]:
    """From the last digit of a day to the month's name, perhaps with a year of two digits."""
    month = months(LANGUAGES)
    return re.compile(
        rf"[0-9](?:(?:[-/](?:{month})[-/]|\. ?(?:{month})[ '.]{{1,2}}|(?:{month}))(?P<year>'?\d\d)(?!\w|[.,]\d)"
        rf"|{ORDINAL}\.?[ -]?{OF}(?P<month>{month})(?![^\W_]|['/-]?\d|-[^\W\d_]))"
    )


@cache
def _after_day_heads() -> Heads:
    names = (month[:2] for language in LANGUAGES.values() for month in language.months)
    seconds: dict[str, set[str]] = defaultdict(set)
    for begin in (*names, "de", "di", "do", "of", "d'"):
        seconds[begin[0]].add(begin[1])
    begins = [f"{first}[{''.join(sorted(second))}]" for first, second in sorted(seconds.items())]
    spaced = [f"[0-9]{mark}{begin}" for mark in ("[-/ .]", r"\.[ -]", "") for begin in begins]
    return compile_heads("|".join([*spaced, "[0-9][snr][tdh]|[0-9]th|[0-9]er|[0-9][º°ª]|[0-9]:e|[0-9]o|[0-9]re"]))


@cache
def _cues(languages: tuple[str, ...]) -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    """What precedes two numbers with a slash, the same if one of them is as long as only dates are, and `19.3.`."""
    with_dot = [word for language in LANGUAGES.values() if language.ordinal_dot for word in language.since]
    own = [word for code in languages for word in LANGUAGES[code].since]
    rarely_else = [word for word in own if word not in _WEAK]
    surely = (*_TIMES, *(word for word in own if word == "on"))
    return (
        re.compile(rf"(?<![^\W_])(?:{any_of(surely)})[ :(]{{1,3}}\Z"),
        re.compile(rf"(?<![^\W_])(?:{any_of([*surely, *rarely_else])})[ :(]{{1,3}}\Z"),
        re.compile(rf"(?<![^\W_])(?:{any_of([*_TIMES, *with_dot, *rarely_else])})[ :(]{{1,3}}\Z"),
    )


def _follows_a_cue(
    folded: str, start: int, end: int, cues: tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]
) -> bool:
    always, long, dotted = cues
    begin = max(0, start - _BEFORE_NUMBERS)
    if folded[end - 1] == ".":
        return 1 <= int(folded[start:end].split(".")[0]) <= 31 and bool(
            dotted.search(folded, begin, start)
            or _DOT_RANGE.search(folded, begin, start)
            or _DOT_RANGE_BEGIN.match(folded, end)
        )
    first, second = folded[start:end].split("/")
    if not ((1 <= int(first) <= 12 and int(second) > 0) or (1 <= int(first) <= 31 and 1 <= int(second) <= 12)):
        return False
    if always.search(folded, begin, start):
        return True
    if (
        first[0] == "0"
        and len(second) == 2
        and (folded[start - 1 : start] == "(" or _LINE_BEGIN.search(folded, begin, start))
    ):
        return True
    is_long = first[0] == "0" or second[0] == "0" or int(first) > 12 or 12 < int(second) <= 31
    return is_long and bool(long.search(folded, begin, start))
