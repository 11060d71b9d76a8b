"""Dates, phone numbers and national numbers as other libraries write and check them are found in every locale.

CLDR's dates are Babel's, phone numbers and their spellings phonenumbers' (Google's), and the checks of national numbers
python-stdnum's: none of them knows our patterns.
"""

import datetime
import importlib
from collections.abc import Iterator
from random import Random

import pytest

from clinical_modernbert.streaming_data.locales.locale import LOCALES
from clinical_modernbert.streaming_data.phi.check_digits import is_valid
from clinical_modernbert.streaming_data.phi.patterns import find_identifiers

NEED_THE_LOCALE = ("ago", "des", "elo", "gen", "loka", "mag", "mar", "may", "out", "set", "tammi")  # other words, too
STDNUM = {  # module, our check, and the form of a number (9: a digit, A: a letter)
    "be.nn": ("belgian", "999999 999 99"),
    "nl.bsn": ("bsn", "9999.99.999"),
    "br.cpf": ("cpf", "999.999.999-99"),
    "es.dni": ("dni", "99999999A"),
    "es.nie": ("dni", "X9999999A"),
    "ch.ssn": ("ean", "756.9999.9999.99"),
    "de.idnr": ("idnr", "99 999 999 999"),
    "ca.sin": ("luhn", "999-999-999"),
    "gb.nhs": ("nhs", "999 999 9999"),
    "pt.nif": ("nif", "299 999 999"),
    "fr.nir": ("nir", "1 99 99 99 999 999 99"),
    "se.personnummer": ("personnummer", "999999-9999"),
    "ie.pps": ("pps", "9999999A"),
    "at.vnr": ("svnr", "9999 999999"),
    "dk.cpr": ("cpr", "999999-9999"),
    "no.fodselsnummer": ("fodselsnummer", "999999 99999"),
    "fi.hetu": ("hetu", "999999-999A"),
    "it.codicefiscale": ("codice_fiscale", "AAAAAA99A99A999A"),
}
DATE_AT = {"be.nn": 0, "se.personnummer": 0, "dk.cpr": 0, "no.fodselsnummer": 0, "fi.hetu": 0, "at.vnr": 5, "fr.nir": 2}


def kinds(text: str, *locales: str) -> set[str]:
    return {found.kind for found in find_identifiers(f"Seen {text} ; stable", locales)}


@pytest.mark.slow
def test_dates_of_all_locales_are_found_without_a_locale() -> None:
    """Also a month with its year, and a day with a month's name; two numbers alone are no date."""
    dates = pytest.importorskip("babel.dates", reason="needs the extra dev")
    rng, missed = Random(0), set[tuple[str, ...]]()
    for locale in LOCALES:
        for month in range(1, 13):
            day = datetime.date(rng.randrange(1930, 2026), month, rng.randrange(1, 29))
            written = {form: dates.format_date(day, form, locale) for form in ("short", "medium", "long", "full")}
            written |= {form: dates.format_skeleton(form, day, locale=locale) for form in ("yMMMM", "yMMM", "MMMMd")}
            for form, date in written.items():
                if "date" not in kinds(date, locale):
                    missed.add((locale, date))
                also_words = form == "yMMM" and date.lower().split()[0].rstrip(".") in NEED_THE_LOCALE
                if not also_words and "date" not in kinds(date):
                    missed.add((locale, "without a locale", date))
    assert not missed


def test_phone_numbers_of_all_countries_are_found() -> None:
    """With their country's code or a label in any text, as the country writes them in text of its locale."""
    phones = pytest.importorskip("phonenumbers", reason="needs the extra dev")
    missed = set()
    for locale in LOCALES:
        for line in (phones.PhoneNumberType.FIXED_LINE, phones.PhoneNumberType.MOBILE):
            number = phones.example_number_for_type(locale[3:], line)
            national = phones.format_number(number, phones.PhoneNumberFormat.NATIONAL)
            abroad = [
                phones.format_number(number, form)
                for form in (phones.PhoneNumberFormat.INTERNATIONAL, phones.PhoneNumberFormat.E164)
            ]
            missed |= {(locale, each) for each in (*abroad, f"Tel.: {national}") if "phone" not in kinds(each)}
            missed |= {(locale, national)} if "phone" not in kinds(national, locale) else set()
    assert not missed


def national_numbers(module: str, form: str, rng: Random) -> Iterator[str]:
    """Numbers of the form that python-stdnum holds for valid, from random ones."""
    validate = importlib.import_module(f"stdnum.{module}").is_valid
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    while True:
        number = "".join(
            rng.choice("0123456789") if each == "9" else rng.choice(letters) if each == "A" else each for each in form
        )
        if module in DATE_AT:
            date = f"{rng.randrange(30, 99)}{rng.randrange(1, 13):02}{rng.randrange(1, 29):02}"
            if module in ("dk.cpr", "no.fodselsnummer", "fi.hetu", "at.vnr"):
                date = date[4:] + date[2:4] + date[:2]
            if module == "fr.nir":
                number = f"1 {date[:2]} {date[2:4]} {rng.randrange(10, 90)} {number[11:]}"
            else:
                number = number[: DATE_AT[module]] + date + number[DATE_AT[module] + 6 :]
        if module == "it.codicefiscale":
            number = f"RSSMRA{rng.randrange(10, 99)}{rng.choice('ABCDEHLMPRST')}{rng.randrange(10, 29)}H501{number[-1]}"
        if validate(number):
            yield number


@pytest.mark.parametrize("module", STDNUM)
def test_national_numbers_are_those_of_another_library(module: str) -> None:
    pytest.importorskip("stdnum", reason="needs the extra dev")
    check, form = STDNUM[module]
    validate = importlib.import_module(f"stdnum.{module}").is_valid
    rng = Random(module)
    locales = [locale for locale in LOCALES if locale[3:] == module[:2].upper()]
    numbers = national_numbers(module, form, rng)
    for number in (next(numbers) for _ in range(25)):
        plain = "".join(filter(str.isalnum, number))
        assert is_valid(check, plain), number
        assert kinds(number, *locales), number
        last = "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if plain[-1].isalpha() else "0123456789"
        at = 3 if module == "at.vnr" else -1
        changed = [plain[:at] + each + (plain[at:][1:] if at != -1 else "") for each in last if each != plain[at]]
        if module != "dk.cpr":  # which has had no check digit since 2007
            assert [each for each in changed if is_valid(check, each) and not validate(each)] == [], number
