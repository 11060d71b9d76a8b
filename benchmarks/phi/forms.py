"""Identifiers to plant in audited text, by form and locale, made independently of the audit's patterns.

Dates are CLDR's (Babel), names, streets and postcodes Faker's, phone numbers in the numbering plans' spellings
(where the regulator reserves numbers for fiction, these), national numbers computed by their issuers' rules.
"""

import datetime
import itertools
from collections.abc import Callable, Iterator

from babel.dates import format_date, format_skeleton
from faker import Faker

LOCALES = (
    *("en_US", "en_GB", "en_CA", "en_IE", "en_AU", "de_DE", "de_AT", "de_CH", "fr_FR", "fr_CA", "fr_BE", "fr_CH"),
    *("es_ES", "nl_NL", "nl_BE", "sv_SE", "it_IT", "it_CH", "pt_PT", "pt_BR"),
    *("da_DK", "nb_NO", "fi_FI"),
)
FAKERS = {"nb_NO": "no_NO", "it_CH": "it_IT"}  # else the locale itself
PEOPLE = {"en_AU": "en_US", "en_CA": "en_US"}  # whose names Faker takes; else those of its locale
PHONES = {
    "US": "(617) 555-01##;617-555-01##;617.555.01##;+1 617 555 01##",
    "CA": "(613) 555-01##;613-555-01##;613 555-01##;+1 613-555-01##",
    "GB": "01632 960###;020 7946 0###;07700 900###;+44 20 7946 0###;(0131) 496 0###;+44 (0)7700 900###",
    "IE": "(01) 234 56##;01 234 56##;087 123 45##;+353 1 234 56##;(021) 234 56##",
    "AU": "(02) 5550 ####;02 7010 ####;0491 570 ###;+61 491 570 ###;+61 2 5550 ####",
    "DE": "030 23125###;030/23125-###;069-90009 ###;+49 30 23125 ###;+49 (0)69 90009###;0171 39200##;(0221) 4710 ###",
    "AT": "01 234 567##;+43 1 234 567#;0664 123 45 ##;0512/12 34 ##",
    "CH": "044 668 18 ##;+41 44 668 18 ##;079 123 45 ##;0041 22 123 45 ##",
    "FR": "01 99 00 ## ##;+33 1 99 00 ## ##;06.39.98.##.##;01-99-00-##-##;+33 (0)6 39 98 ## ##;0199000###",
    "BE": "02 555 12 ##;0470 12 34 ##;+32 2 555 12 ##;09/234 56 ##;0470/12.34.##",
    "ES": "91 123 45 ##;912 345 6##;+34 612 34 56 ##;612 345 6##;612345###",
    "NL": "020-12345##;06-123456##;+31 20 123 45 ##;0113 123 4##;(020) 123 45 ##",
    "SE": "08-465 004 ##;031-390 06 ##;070-174 06 ##;+46 8 465 004 ##;08-465 00 4#",
    "IT": "06 123456##;02/123456##;338 123 45##;+39 06 1234 56##;+39 338 12345##",
    "PT": "21 123 45 ##;912 345 6##;+351 912 345 6##;217 123 4##",
    "DK": "32 12 34 ##;+45 32 12 34 ##;321234##;3212 34##",
    "NO": "22 12 34 ##;+47 22 12 34 ##;912 34 5##;221234##",
    "FI": "09 123 4##;040 123 45##;+358 40 123 45##;040-12345##",
    "BR": "(11) 91234-56##;(21) 2345-67##;+55 11 91234-56##",
}
LABELS = {  # a name, a surname, a first name, a patient's number, a phone number
    "en": "Patient Name;Surname;First Name;Hospital No;Phone",
    "de": "Patient;Nachname;Vorname;Patientennummer;Tel.",
    "fr": "Patient;Nom;Prénom;N° de dossier;Tél",
    "es": "Paciente;Apellidos;Nombre;Nº de historia;Teléfono",
    "nl": "Patiënt;Achternaam;Voornaam;Patiëntnummer;Telefoon",
    "sv": "Patient;Efternamn;Förnamn;Patientnummer;Telefon",
    "it": "Paziente;Cognome;Nome;N. cartella;Telefono",
    "da": "Patient;Efternavn;Fornavn;Journalnr.;Tlf.",
    "nb": "Pasient;Etternavn;Fornavn;Pasientnummer;Tlf.",
    "fi": "Potilas;Sukunimi;Etunimi;Potilasnumero;Puh.",
    "pt": "Utente;Apelido;Nome;N.º de processo;Telefone",
}
TITLES = {
    "en": "Mr.;Mrs;Ms.;Dr.;Dr;Miss;Prof.",
    "de": "Herr;Frau;Herrn;Hr.;Fr.;Dr.;Dr. med.;Prof. Dr.;Oberarzt;Dipl.-Ing.",
    "fr": "M.;Mme;Mlle;Monsieur;Madame;Dr;Docteur;Pr",
    "es": "Sr.;Sra.;Srta.;D.;Dña.;Dr.;Dra.;Don",
    "nl": "Dhr.;De heer;Mevr.;Mw.;Mevrouw;Dr.;Drs.;Dokter",
    "sv": "Herr;Fru;Dr;Doktor;Överläkare;Öl;Leg. läkare;Sjuksköterska",
    "it": "Sig.;Sig.ra;Signora;Dott.;Dott.ssa;Dr.;Prof.;Signor",
    "da": "Hr.;Fru;Dr.;Overlæge;Frk.;Professor",
    "nb": "Herr;Fru;Dr.;Overlege;Fastlege;Professor",
    "fi": "Herra;Rouva;Neiti;Tohtori;Ylilääkäri;Professori",
    "pt": "Sr.;Sra.;Dr.;Dra.;D.;Dona;Enf.ª;Prof.",
}
OLD = {
    "en": "aged {};age {};{} year old;{}-year-old;age: {}",
    "de": "{} Jahre;{}-jährige;{} jähriger;Alter: {};{} Jahre alt",
    "fr": "{} ans;âgé de {} ans;âgée de {};âge : {}",
    "es": "{} años;de {} años;edad: {}",
    "nl": "{} jaar;{}-jarige;leeftijd: {};{} jarige",
    "sv": "{} år;{}-årig;ålder: {};{}-åring",
    "it": "{} anni;di {} anni;età: {};{}enne",
    "da": "{} år;{}-årig;alder: {};{} år gammel",
    "nb": "{} år;{} åring;alder: {};{} år gammel",
    "fi": "{}-vuotias;{} vuotta;ikä: {};{} vuoden ikäinen",
    "pt": "{} anos;de {} anos;idade: {}",
}
SEEN = {  # a day and month as numbers, behind a word
    "en": "seen on {}", "de": "gesehen am {}", "fr": "vu le {}", "es": "visto el {}", "nl": "gezien op {}",
    "sv": "sedd den {}", "it": "visto il {}", "pt": "visto no dia {}", "da": "set den {}", "nb": "sett den {}",
    "fi": "tavattu, kontrolli {}",
}  # fmt: skip
# Weights of the digits, or a function of the digits to the check character, from the issuers' publications.
_DNI = "TRWAGMYFPDXBNJZSQVHLCKE"


def luhn(digits: str) -> str:
    """The check digit of Luhn's algorithm."""
    total = 0
    for at, digit in enumerate(reversed(digits)):
        total += sum(divmod(int(digit) * (2 - at % 2), 10))
    return str(-total % 10)


def weighted(digits: str, *weights: int) -> int:
    return sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=True))


def national_numbers(country: str, fake: Faker) -> Iterator[tuple[str, str]]:
    """A kind of number of the country, and one such number."""

    def digits(pattern: str) -> str:
        return fake.numerify(pattern)

    birth = fake.date_of_birth(minimum_age=1, maximum_age=99)
    match country:
        case "GB":
            number = digits("94#######")
            while (check := -weighted(number, *range(10, 1, -1)) % 11) == 10:
                number = digits("94#######")
            yield "NHS number", f"{number[:3]} {number[3:6]} {number[6:]}{check}"
            yield "National Insurance", f"QQ {digits('## ## ##')} C".replace("QQ", "AB")
        case "CA":
            number = digits("%########")
            yield "Ontario health card", f"{number[:4]}-{number[4:7]}-{number[7:]}{luhn(number)}-AB"
            number = digits("9########")
            number = next(
                full
                for end in itertools.count()
                if len(full := f"9{(int(number[1:]) + end) % 10**8:08}") == 9
                and sum(int(d) * w % 11 for d, w in zip(full[1:], (2, 4, 8, 5, 10, 9, 7, 3), strict=True)) % 11 > 1
            )
            total = sum(int(d) * w % 11 for d, w in zip(number[1:], (2, 4, 8, 5, 10, 9, 7, 3), strict=True))
            yield "British Columbia PHN", f"{number[:4]} {number[4:7]} {number[7:]}{11 - total % 11}"
            yield "RAMQ", f"{fake.lexify('????').upper()} {birth:%y%m} {birth:%d}{digits('##')}"
            number = digits("%#######")
            yield "SIN", f"{number[:3]} {number[3:6]} {number[6:]}{luhn(number)}"
        case "AU":
            number = f"{fake.random_int(2, 6)}{digits('#######')}"
            check = weighted(number, 1, 3, 7, 9, 1, 3, 7, 9) % 10
            yield "Medicare", f"{number[:4]} {number[4:]}{check} {fake.random_int(1, 9)} {fake.random_int(1, 9)}"
        case "IE":
            number = digits("#######")
            yield "PPS number", f"{number}{'WABCDEFGHIJKLMNOPQRSTUV'[weighted(number, *range(8, 1, -1)) % 23]}"
        case "DE":
            letter, number = fake.random_uppercase_letter(), digits("########")
            total = 0
            for at, digit in enumerate(f"{ord(letter) - 64:02}{number}"):
                total += sum(divmod(int(digit) * (1 + at % 2), 10))
            yield "KVNR", f"{letter}{number}{total % 10}"
        case "AT":
            yield "SVNR", _with_birth(f"{digits('%##')}", f"{birth:%d%m%y}", digits)
        case "CH":
            number = f"756{digits('#########')}"
            check = -weighted(number, *[1, 3] * 6) % 10
            yield "AHV number", f"{number[:3]}.{number[3:7]}.{number[7:11]}.{number[11:]}{check}"
        case "FR":
            number = f"{fake.random_int(1, 2)}{birth:%y%m}{fake.random_int(10, 89)}{digits('%##')}{digits('0##')}"
            key = f"{97 - int(number) % 97:02}"
            yield (
                "NIR",
                fake.random_element(
                    (
                        number + key,
                        f"{number[0]} {number[1:3]} {number[3:5]} {number[5:7]} {number[7:10]} {number[10:]} {key}",
                    )
                ),
            )
        case "BE":
            number = f"{birth:%y%m%d}{digits('###')}"
            check = 97 - int(f"2{number}" if birth.year >= 2000 else number) % 97
            yield "rijksregisternummer", f"{birth:%y.%m.%d}-{number[6:]}.{check:02}"
        case "ES":
            number = digits("########")
            yield "DNI", f"{number}{fake.random_element(('', '-'))}{_DNI[int(number) % 23]}"
            number = digits("#######")
            yield "NIE", f"X{number}{_DNI[int(number) % 23]}"
            yield (
                "CIP (Catalonia)",
                f"{fake.lexify('????').upper()} {fake.random_int(0, 1)} {birth:%y%m%d} {digits('## #')}",
            )
        case "NL":
            number = digits("%#######")
            while (check := weighted(number, *range(9, 1, -1)) % 11) == 10:
                number = digits("%#######")
            yield "BSN after its label", f"BSN: {number}{check}"
            yield "BSN alone", f"{number}{check}"
        case "SE":
            number = f"{birth:%y%m%d}{digits('###')}"
            yield "personnummer", f"{birth:%Y%m%d}-{number[6:]}{luhn(number)}"
            yield "personnummer, short", f"{number[:6]}-{number[6:]}{luhn(number)}"
        case "IT":
            yield "codice fiscale", Faker("it_IT").ssn()
        case "PT":
            number = digits("2#######")
            check = -weighted(number, *range(9, 1, -1)) % 11 % 10
            yield "NIF", f"{number[:3]} {number[3:6]} {number[6:]}{check}"
            yield "número de utente", f"N.º de utente: {digits('%########')}"
        case "DK":
            yield "CPR number", f"{birth:%d%m%y}-{digits('####')}"
        case "NO":
            yield "fødselsnummer", Faker("no_NO").ssn()
        case "FI":
            number = f"{birth:%d%m%y}{digits('###')}"
            mark = "A" if birth.year >= 2000 else "-"
            yield "HETU", f"{birth:%d%m%y}{mark}{number[6:]}{'0123456789ABCDEFHJKLMNPRSTUVWXY'[int(number) % 31]}"
        case "BR":
            yield "CPF", Faker("pt_BR").cpf()


def faker_of(locale: str) -> Faker:
    """Faker for the locale.

    Without names of the locale it silently makes those of the United States: then this refuses.
    """
    fake = Faker(FAKERS.get(locale, locale))
    people = PEOPLE.get(locale, FAKERS.get(locale, locale))
    modules = {provider.__module__ for provider in fake.get_providers()}
    assert f"faker.providers.person.{people}" in modules, f"{locale}: Faker has no names of {people}"
    fake.seed_instance(0)
    return fake


def knows_addresses(fake: Faker, locale: str) -> bool:
    """Whether Faker has streets of the locale; without them it silently makes those of the United States."""
    known = {provider.__module__ for provider in fake.get_providers()}
    return any(f"faker.providers.address.{name}" in known for name in (locale, locale.replace("nb_", "no_")))


def phone_number(locale: str, fake: Faker) -> str:
    return fake.numerify(fake.random_element(PHONES[locale[3:]].split(";")))


def _postcode(country: str, fake: Faker) -> str:
    """With the town or, where they are usual, the state."""
    if country in ("US", "AU"):
        return f"{fake.city()}, {fake.state_abbr()} {fake.postcode()}"
    return fake.postcode() if country in ("GB", "CA", "IE") else f"{fake.postcode()} {fake.city()}"


def _with_birth(number: str, birth: str, digits: Callable[[str], str]) -> str:
    """An Austrian number: three digits, the check digit, the date of birth. Some three digits have no check digit."""
    while (check := weighted(number + birth, 3, 7, 9, 5, 8, 4, 2, 1, 6) % 11) == 10:
        number = digits("%##")
    return f"{number}{check} {birth}"


def forms(locale: str, fake: Faker) -> dict[str, list[str]]:
    """One identifier in each spelling of each form, as the locale writes them."""
    language, country = locale.split("_")
    day: datetime.date = fake.date_between(datetime.date(1930, 1, 1), datetime.date(2025, 12, 31))
    name, surname, first, record, phone = LABELS[language].split(";")
    last_name, first_name = fake.last_name(), fake.first_name()
    titles = TITLES[language].split(";")
    wide, short = format_date(day, "MMMM", locale), format_date(day, "MMM", locale).strip(".")
    month_first = country == "US"
    numeric = f"{day.month}{{0}}{day.day}" if month_first else f"{day.day}{{0}}{day.month}"
    padded = f"{day:%m}{{0}}{day:%d}" if month_first else f"{day:%d}{{0}}{day:%m}"
    number = phone_number(locale, fake)
    found = {
        "date, CLDR short": [format_date(day, "short", locale)],
        "date, CLDR medium": [format_date(day, "medium", locale)],
        "date, CLDR long": [format_date(day, "long", locale), format_date(day, "long", locale).upper()],
        "date, numbers": [
            *(f"{form}{{0}}{day.year}".format(mark) for form in (numeric, padded) for mark in "./-"),
            *(f"{day.year}{mark}{day:%m}{mark}{day:%d}" for mark in "./-"),
        ],
        "date, numbers, two-digit year": [f"{padded}{{0}}{day:%y}".format(mark) for mark in "./-"],
        "date, 3-Mar-19": [
            f"{day.day}-{short}-{day:%y}",
            f"{day:%d}{short.upper()}{day.year}",
            f"{day.day}/{short}/{day.year}",
        ],
        "month and year": [f"{wide} {day.year}", f"{day:%m}/{day.year}"],
        "day and month's name": [format_skeleton("MMMMd", day, locale=locale)],
        "day and month, numbers": [SEEN[language].format(format_skeleton("Md", day, locale=locale))],
        "phone": [number],
        "phone after its label": [f"{phone}: {number}", f"{phone} {number}"],
        "title and name": [f"{title} {last_name}" for title in titles],
        "TITLE AND NAME": [f"{title} {last_name}".upper() for title in titles],
        "name field": [
            f"{surname}: {last_name}",
            f"{first}: {first_name}",
            f"{name}: {last_name}, {first_name}",
            f"{name}: {first_name} {last_name}",
        ],
        "NAME FIELD": [f"{surname}: {last_name}".upper(), f"{name}: {last_name}, {first_name}".upper()],
        "name field, small letters": [f"{surname}: {last_name}".lower(), f"{name}: {last_name}, {first_name}".lower()],
        "bare First Last": [f"{first_name} {last_name}"],
        "bare Last, First": [f"{last_name}, {first_name}", f"{last_name}, {first_name}".upper()],
        "record number": [
            f"{record}: {fake.numerify('%######')}",
            f"{record} {fake.numerify('%#######')}",
            f"{record}: A{fake.numerify('######')}",
        ],
        "age over 89": [form.format(fake.random_int(90, 109)) for form in OLD[language].split(";")],
    }
    if knows_addresses(fake, locale):
        found["street and number"] = [fake.street_address().replace("\n", " ")]
        found["postcode"] = [_postcode(country, fake)]
    for kind, value in national_numbers(country, fake):
        found[f"{kind} ({country})"] = [value]
    return found
