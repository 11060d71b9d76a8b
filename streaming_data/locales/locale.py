"""The languages and countries of which identifiers and sentence ends are known, by the name of their locale."""

from collections.abc import Iterable
from typing import Literal, get_args

from .danish import DANISH, DENMARK
from .dutch import DUTCH, NETHERLANDS
from .english import AUSTRALIA, CANADA, ENGLISH, GREAT_BRITAIN, IRELAND, UNITED_STATES
from .finnish import FINLAND, FINNISH
from .french import BELGIUM, FRANCE, FRENCH
from .german import AUSTRIA, GERMAN, GERMANY, SWITZERLAND
from .italian import ITALIAN, ITALY
from .language import Country, Language
from .norwegian import NORWAY, NORWEGIAN
from .portuguese import BRAZIL, PORTUGAL, PORTUGUESE
from .spanish import SPAIN, SPANISH
from .swedish import SWEDEN, SWEDISH

Locale = Literal[
    "da_DK", "de_AT", "de_CH", "de_DE", "en_AU", "en_CA", "en_GB", "en_IE", "en_US", "es_ES", "fi_FI", "fr_BE", "fr_CA",
    "fr_CH", "fr_FR", "it_CH", "it_IT", "nb_NO", "nl_BE", "nl_NL", "pt_BR", "pt_PT", "sv_FI", "sv_SE",
]  # fmt: skip
LOCALES: tuple[Locale, ...] = get_args(Locale)

LANGUAGES: dict[str, Language] = {
    "da": DANISH,
    "de": GERMAN,
    "en": ENGLISH,
    "es": SPANISH,
    "fi": FINNISH,
    "fr": FRENCH,
    "it": ITALIAN,
    "nb": NORWEGIAN,
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
    "DK": DENMARK,
    "ES": SPAIN,
    "FI": FINLAND,
    "FR": FRANCE,
    "GB": GREAT_BRITAIN,
    "IE": IRELAND,
    "IT": ITALY,
    "NL": NETHERLANDS,
    "NO": NORWAY,
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
