"""Dates, phone numbers, postcodes, national numbers and old ages as other countries than the US write them.

Forms that nearly nothing else has are searched in every text; forms that other numbers may have, too, only in text of
the country. All are found from their digits, because words are many times as frequent.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import groupby
from typing import NamedTuple

from ..locales.locale import COUNTRIES, LANGUAGES
from .check_digits import is_valid
from .cues import LOWER, NAME, UPPER, Found
from .first_characters import Searcher, compile_heads
from .partial_dates import DAY, YEAR
from .word_trie import any_of

_DAY, _MONTH, _YEAR = DAY, r"(?:0?[1-9]|1[0-2])", YEAR
_PADDED_DAY, _PADDED_MONTH = r"(?:0[1-9]|[12]\d|3[01])", r"(?:0[1-9]|1[0-2])"
_RANGES = (  # these may be the ends of a range, `01.03.2019-05.03.2019`
    *(
        form.replace("/", separator)
        for form in (rf"(?:{_DAY}/ ?{_MONTH}|{_MONTH}/ ?{_DAY})/ ?{_YEAR}", rf"{_YEAR}/{_MONTH}/{_DAY}")
        for separator in (r"\.", "/{1,2}")
    ),
    rf"{_PADDED_MONTH}/{_YEAR}",
)
_DATES = (
    rf"(?:{_DAY}-{_MONTH}|{_MONTH}-{_DAY})-{_YEAR}",
    rf"{_YEAR}-{_MONTH}-{_DAY}",
    rf"{_YEAR}{_PADDED_MONTH}{_PADDED_DAY}",
    rf"{_PADDED_MONTH}-{_YEAR}",
    rf"{_PADDED_DAY}\.{_PADDED_MONTH}\.\d\d",
    rf"{_DAY}/{_MONTH}/\d\d",
)
_LOCAL_DATES = (
    rf"{_DAY}\. ?{_MONTH}\. ?'?\d\d",
    rf"{_MONTH}\.{_DAY}\.\d\d",
    rf"{_DAY}-{_MONTH}-'?\d\d",
    rf"{_MONTH}[/.-]{_YEAR}",
    rf"{_YEAR}-{_PADDED_MONTH}",
    rf"{_DAY}\.{_PADDED_MONTH} {_YEAR}",
)
_INTERNATIONAL_PHONE = (
    r"(?=(?:\D{0,2}\d){9})(?:\+|00)[1-9]\d{0,2}[ ./-]?(?:\(0?\d{0,4}\)|\d{1,4})(?:[ ./-]{0,2}\d{2,4}){2,5}"
)
# These begin with a class of characters, which is searched many times faster than an assertion or an option.
_RUN = re.compile(r"[0-9](?:[\d ()./+'-]{3,}[\d)]|\d{3} [A-Z]{2} )")  # the latter is a Dutch postcode
_SHORT_RUN = re.compile(r"[0-9][\d ()./+'-]{2,}[\d)]")
_BEFORE_RUN, _AFTER_RUN = 3, 12
_CAPITAL = r"[A-Z](?<![^\W_][A-Z])(?=[A-Z]{0,5}[ -]{0,2}\d)"
_MOST_DIGITS = 11
_FIRST_NAME = re.compile(
    rf", {NAME}(?: [A-Z]\.?)?(?=[ \t]*[,;|(\t ][ \t]*\(?(?:DOB|D\.O\.B|MRN|NHS|geb|né|nac(?!h)|[MF]\b"
    r"|[0-3]?\d[./-](?:[01]?\d|[A-Za-z]{3})[./-]\d\d(?![\d.]\b)))"
)
_LAST_NAME = re.compile(rf"{NAME}\Z")
_LONGEST_NAME = 40
_STREET_WORDS = [word for language in LANGUAGES.values() for word in language.street_words]
_STREET_ENDS = [end for language in LANGUAGES.values() for end in language.street_ends]
_STREET_ENDS += [f" {word}" for word in _STREET_WORDS]
_HOUSE_NUMBER = re.compile(
    rf" (?=\d)(?:{'|'.join(f'(?<={any_of(ends)} )' for _, ends in groupby(sorted(_STREET_ENDS, key=len), key=len))})"
    r"\d{1,4}(?: ?[a-z](?![a-z]))?(?![\d.,]?\d| ?(?:%|[cm]?m(?!\w)|m[gl]))"
)
_STREET = re.compile(r"[^\W\d_][\w'.-]{3,}\Z")
_STREET_WORD = re.compile(rf"{NAME} (?:{any_of(_STREET_WORDS)})\Z")

_SHORT_RUN_HEADS = compile_heads("[0-9]" + r"[\d ()./+'-]" * 3)
_RUN_HEADS = compile_heads("[0-9]" + r"[\d ()./+'-]" * 4 + r"|\d\d\d\d [A-Z][A-Z] ")
_CAPITAL_HEADS = compile_heads(
    "|".join("[A-Z]" * capitals + "[ -]" * separators + r"\d" for capitals in range(1, 7) for separators in range(3))
)
_HOUSE_NUMBER_HEADS = compile_heads(r" \d")
_OLD_AGE_HEADS = compile_heads("9[0-9][^0-9]|1[01][0-9][^0-9]")
_FIRST_NAME_HEADS = compile_heads(rf", [{UPPER}][{UPPER}{LOWER}'-]")


class Form(NamedTuple):
    """A kind, a pattern of it, and the check that its digits must satisfy, if any.

    Attributes:
        plain: whether a number without any separator counts, too.
        may_end_range: whether a hyphen and another one may follow or precede.
    """

    kind: str
    pattern: str
    check: str | None = None
    plain: bool = True
    may_end_range: bool = False


class Forms(NamedTuple):
    """The patterns of a search.

    Attributes:
        run: of digits; a postcode of four is searched only in text of its country.
        one_in_run, in_run: searched in such runs; the first matches if one of the others may.
        one_at_capital, at_capital: the same, where a capital is followed by digits; the first matches the capital.
        anywhere: searched in the text in lower case.
    """

    run: re.Pattern[str]
    one_in_run: re.Pattern[str]
    in_run: tuple[Form, ...]
    one_at_capital: re.Pattern[str]
    at_capital: tuple[Form, ...]
    anywhere: tuple[tuple[str, re.Pattern[str]], ...]


@cache
def compile_forms(languages: tuple[str, ...], countries: tuple[str, ...]) -> Forms:
    """The forms of all countries, and the doubtful ones of these languages and countries."""
    forms = list(dict.fromkeys(_forms_of(languages, countries)))
    at_capital = [form for form in forms if re.match(r"[(?:]*\[?[A-Z]", form.pattern)]
    in_run = [form for form in forms if form not in at_capital]
    return Forms(
        run=_SHORT_RUN if countries else _RUN,
        one_in_run=re.compile(rf"(?<![\w])(?<!\d[.,])(?:{'|'.join(form.pattern for form in in_run)})"),
        in_run=tuple(in_run),
        one_at_capital=re.compile(rf"{_CAPITAL}(?<=(?={'|'.join(form.pattern for form in at_capital)})[A-Z])"),
        at_capital=tuple(at_capital),
        anywhere=tuple(_anywhere()),
    )


def _forms_of(languages: Iterable[str], countries: Iterable[str]) -> Iterator[Form]:
    for pattern in _RANGES:
        yield Form("date", pattern, may_end_range=True)
    for pattern in (*_DATES, *(_LOCAL_DATES if languages else ())):
        yield Form("date", pattern)
    yield Form("phone", _INTERNATIONAL_PHONE)
    for code, country in COUNTRIES.items():
        own = code in countries
        for number in country.numbers:
            yield Form("national_number", number.pattern, number.check, own)
        if country.postcodes:
            yield Form("postcode", country.postcodes)
        if own and country.doubtful_postcodes:
            yield Form("postcode", country.doubtful_postcodes)
        if own and country.phones:
            yield Form("phone", country.phones)


@cache
def _apart(form: Form) -> re.Pattern[str]:
    """The form, where no letter or digit precedes or follows, and no more digits after punctuation."""
    if form.may_end_range and "/" in form.pattern:
        return re.compile(rf"(?<![\w+])(?<!\d[.,/])(?:{form.pattern})(?![\w/]|[.,]\d)")
    if form.may_end_range:  # also `06/07.11.2024`, `17.10.2029/AB` and `30.12.1987der`
        return re.compile(rf"(?<![\w+])(?<!\d[.,])(?:{form.pattern})(?!\d|[.,/]\d)")
    return re.compile(rf"(?<![\w+])(?<!\d[.,/-])(?:{form.pattern})(?!\w|[.,/-]\d)")


def _anywhere() -> Iterator[tuple[str, re.Pattern[str]]]:
    years = any_of(word for language in LANGUAGES.values() for word in language.years_old)
    age = r"(?:9\d(?<![\d.,]9\d)|1[01]\d(?<![\d.,]1[01]\d))"
    yield "age_over_89", re.compile(rf"{age}[ -]?(?:{years})(?![^\W\d_])")


def find_local_numbers(
    forms: Forms, texts: Sequence[str], folded: Sequence[str], in_texts: Searcher, in_folded: Searcher
) -> Iterator[tuple[int, Found]]:
    """What has one of the forms, with the number of the text. `folded` are the texts in lower case, with the same
    positions; the searchers have the same texts.
    """
    for number, run in in_texts.find(forms.run, _RUN_HEADS if forms.run is _RUN else _SHORT_RUN_HEADS):
        text = texts[number]
        start, end = max(0, run.start() - _BEFORE_RUN), min(len(text), run.end() + _AFTER_RUN)
        if forms.one_in_run.search(text, start, end):
            yield from ((number, found) for found in _of_forms(forms.in_run, text, start, end))
    for number, capital in in_texts.find(forms.one_at_capital, _CAPITAL_HEADS):
        text, start = texts[number], capital.start()
        end = min(len(text), start + _LONGEST_NAME)
        yield from ((number, found) for found in _of_forms(forms.at_capital, text, start, end))
    for kind, pattern in forms.anywhere:
        for number, match in in_folded.find(pattern, _OLD_AGE_HEADS):
            yield number, Found(kind, *match.span())
    for number, first in in_texts.find(_FIRST_NAME, _FIRST_NAME_HEADS):
        if last := _LAST_NAME.search(texts[number], max(0, first.start() - _LONGEST_NAME), first.start()):
            yield number, Found("name", last.start(), first.end())
    for number, house in in_folded.find(_HOUSE_NUMBER, _HOUSE_NUMBER_HEADS):
        text, begin = texts[number], max(0, house.start() - _LONGEST_NAME)
        street = _STREET.search(text, begin, house.start())
        if not street or not text[street.start()].isupper():
            street = _STREET_WORD.search(text, begin, house.start())
        if street:
            yield number, Found("address", street.start(), house.end())


def _of_forms(forms: Iterable[Form], text: str, start: int, end: int) -> Iterator[Found]:
    for form in forms:
        for match in _apart(form).finditer(text, start, end):
            if form.check is None or _is_number(form, match[0]):
                yield Found(form.kind, *match.span())


def _is_number(form: Form, number: str) -> bool:
    """Whether its digits satisfy the check. A short number without separators must be expected in the text, too."""
    if number.isdigit() and len(number) <= _MOST_DIGITS and not form.plain:
        return False
    return form.check is not None and is_valid(form.check, "".join(filter(str.isalnum, number)))
