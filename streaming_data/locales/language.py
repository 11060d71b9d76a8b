"""What the language and the country of a text add to the search for identifiers and for sentence ends, as data."""

from typing import NamedTuple


def words(text: str) -> tuple[str, ...]:
    """The expressions of a list, separated by semicolons."""
    return tuple(" ".join(word.split()) for word in text.split(";"))


class Language(NamedTuple):
    """Words of a language, in lower case. They are plain text, not patterns.

    Attributes:
        months: their names and abbreviations, without the dot of an abbreviation.
        titles: words before a name: Frau, Prof. A dot at the end of an abbreviation may be absent in the text.
        doubtful_titles: words before a name that are also something else, so that they count only in text of the
            language: the French `M.`
        names: labels of a field that holds a name and nothing else, such as `Surname`: one word suffices.
        full_names: labels of a field that may hold the name of something else: at least two words of a name.
        people: labels of a field that may hold a name or a description: only a name, up to the end of the field.
        numbers: labels of a field that holds a number of a patient or a stay.
        phones: labels before a phone number.
        ages: words before an age: `aged 93`.
        years_old: words after an age: `93 ans`.
        streets: words before the name of a street: `rue de la Paix`.
        street_ends: ends of the name of a street, before its number: `Hauptstraße 5`.
        street_words: the same, as a word of its own: `Karl Johans gate 5`.
        boxes: words before the number of a box at a post office.
        since: words before a day and month without a year.
        abbreviations: words that end with a dot inside a sentence, without this dot.
        ordinal_dot: whether a dot after a number makes it ordinal: `am 3. März`.
    """

    months: tuple[str, ...]
    titles: tuple[str, ...]
    names: tuple[str, ...]
    full_names: tuple[str, ...]
    people: tuple[str, ...]
    numbers: tuple[str, ...]
    phones: tuple[str, ...]
    ages: tuple[str, ...]
    years_old: tuple[str, ...]
    abbreviations: tuple[str, ...]
    doubtful_titles: tuple[str, ...] = ()
    streets: tuple[str, ...] = ()
    street_ends: tuple[str, ...] = ()
    street_words: tuple[str, ...] = ()
    boxes: tuple[str, ...] = ()
    since: tuple[str, ...] = ()
    ordinal_dot: bool = False


class NationalNumber(NamedTuple):
    """A number of a person that a state or a health service issues.

    Attributes:
        pattern: of its spellings. A plain run of digits counts only in text of the country, unless it is long.
        check: the function of `phi/check_digits.py` that its digits must satisfy; None if it has no check digit.
    """

    pattern: str
    check: str | None


class Country(NamedTuple):
    """Forms of a country.

    Attributes:
        postcodes: a pattern of them that hardly anything else has.
        doubtful_postcodes: a pattern of them, with the town, that other text may have: searched only in text of the
            country.
        phones: a pattern of phone numbers without a label, searched only in text of the country.
        numbers: the numbers of its persons.
    """

    postcodes: str | None = None
    doubtful_postcodes: str | None = None
    phones: str | None = None
    numbers: tuple[NationalNumber, ...] = ()
