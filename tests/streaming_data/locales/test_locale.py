"""The data of all languages and countries is usable: words are plain and in lower case, patterns compile."""

import re

import pytest

from clinical_modernbert.streaming_data.locales.locale import COUNTRIES, LANGUAGES, LOCALES, countries_of, languages_of
from clinical_modernbert.streaming_data.phi import check_digits


@pytest.mark.parametrize("code", LANGUAGES)
def test_the_words_of_a_language_are_plain_and_in_lower_case(code: str) -> None:
    for attribute, value in LANGUAGES[code]._asdict().items():
        if isinstance(value, bool):
            continue
        assert all(word and word == word.strip().lower() for word in value), attribute
        assert len(value) == len(set(value)), f"{attribute}: a word twice"
        assert not any("\\" in word for word in value), f"{attribute}: a pattern"
    assert len(LANGUAGES[code].months) >= 12


@pytest.mark.parametrize("code", COUNTRIES)
def test_the_patterns_of_a_country_compile_without_groups(code: str) -> None:
    country = COUNTRIES[code]
    patterns = [
        country.postcodes,
        country.doubtful_postcodes,
        country.phones,
        *(each.pattern for each in country.numbers),
    ]
    for pattern in filter(None, patterns):
        assert re.compile(pattern).groups == 0, pattern
        assert not re.search(r"[)\]}][*+]", pattern), f"{pattern}: unbounded"
    assert all(each.check is None or each.check in check_digits._CHECKS for each in country.numbers)


def test_every_locale_has_a_language_and_a_country() -> None:
    assert {locale[:2] for locale in LOCALES} == LANGUAGES.keys()
    assert {locale[3:] for locale in LOCALES} == COUNTRIES.keys()
    assert len(languages_of(LOCALES)) == len(LANGUAGES)
    assert len(countries_of(LOCALES)) == len(COUNTRIES)
