"""The languages and countries of which identifiers and sentence ends are known, by the name of their locale."""

from collections.abc import Iterable
from typing import Literal, get_args

from .dutch import DUTCH, NETHERLANDS
from .english import AUSTRALIA, CANADA, ENGLISH, GREAT_BRITAIN, IRELAND, UNITED_STATES
from .french import BELGIUM, FRANCE, FRENCH
from .german import AUSTRIA, GERMAN, GERMANY, SWITZERLAND
from .italian import ITALIAN, ITALY
from .language import Country, Language
from .portuguese import BRAZIL, PORTUGAL, PORTUGUESE
from .spanish import SPAIN, SPANISH
from .swedish import SWEDEN, SWEDISH

Locale = Literal[
    "de_AT", "de_CH", "de_DE", "en_AU", "en_CA", "en_GB", "en_IE", "en_US", "es_ES", "fr_BE", "fr_CA", "fr_CH", "fr_FR",
    "it_CH", "it_IT", "nl_BE", "nl_NL", "pt_BR", "pt_PT", "sv_SE",
]  # fmt: skip
LOCALES: tuple[Locale, ...] = get_args(Locale)

LANGUAGES: dict[str, Language] = {
    "de": GERMAN,
    "en": ENGLISH,
    "es": SPANISH,
    "fr": FRENCH,
    "it": ITALIAN,
    "nl": DUTCH,
    "pt": PORTUGUESE,
    "sv": SWEDISH,
}
COUNTRIES: dict[str, Country] = {
    "AT": AUSTRIA,
    "AU": AUSTRALIA,
    "BE": BELGIUM,
    "BR": BRAZIL,
    "CA": CANADA,
    "CH": SWITZERLAND,
    "DE": GERMANY,
    "ES": SPAIN,
    "FR": FRANCE,
    "GB": GREAT_BRITAIN,
    "IE": IRELAND,
    "IT": ITALY,
    "NL": NETHERLANDS,
    "PT": PORTUGAL,
    "SE": SWEDEN,
    "US": UNITED_STATES,
}


def languages_of(locales: Iterable[str]) -> list[Language]:
    """The languages of the locales, each once."""
    return [LANGUAGES[code] for code in dict.fromkeys(locale.split("_")[0] for locale in locales)]


def countries_of(locales: Iterable[str]) -> list[Country]:
    """The countries of the locales, each once."""
    return [COUNTRIES[code] for code in dict.fromkeys(locale.split("_")[1] for locale in locales)]
