"""Headers, letters and signatures of invented patients, with typing errors and broken character recognition.

The templates imitate letters of each country. No pattern of the audit was made from them or changed after them.
"""

from collections.abc import Callable, Iterator
from functools import partial
from random import Random
from string import Formatter
from typing import NamedTuple

from babel.dates import format_date, format_skeleton
from faker import Faker

from .forms import phone_number

HEADERS = {
    "en": "Patient Details\nName: {last}, {first}    D.O.B. {born}\nUnit number {record}\nAddress {street}, {town}\n"
    "Home phone {phone}\n",
    "de": "Patient/in: {last}, {first}, geboren am {born}\nwohnhaft {street}, {town}\nAufnahmenummer {record}\n"
    "Telefon privat {phone}\n",
    "fr": "Nom de naissance : {last}   Prénom(s) : {first}\nDate de naissance : {born}\nDomicile : {street}, {town}\n"
    "N° dossier {record}   Tél. {phone}\n",
    "es": "Apellidos y nombre: {last}, {first}\nF. nacimiento {born}\nDomicilio: {street}, {town}\n"
    "Nº Historia Clínica {record}\nTfno. contacto {phone}\n",
    "nl": "Naam patiënt: {last}, {first}\nGeb. datum {born}\nAdres {street}, {town}\nPatiëntnr. {record}\n"
    "Tel. thuis {phone}\n",
    "sv": "Namn: {last}, {first}\nFödd {born}\nAdress: {street}, {town}\nJournalnr {record}\nTel bostad {phone}\n",
    "it": "Cognome e nome {last} {first}\nNato/a il {born}\nResidente in {street}, {town}\n"
    "Cartella n. {record}\nRecapito {phone}\n",
    "pt": "Nome do doente: {first} {last}\nData de nascimento {born}\nMorada: {street}, {town}\n"
    "Nº processo {record}\nContacto telefónico {phone}\n",
    "da": "Navn: {last}, {first}\nFødt {born}\nBopæl: {street}, {town}\nJournalnr. {record}\nTlf. privat {phone}\n",
    "nb": "Navn: {last}, {first}\nFødt {born}\nAdresse: {street}, {town}\nPasientnr. {record}\nTlf. privat {phone}\n",
    "fi": "Nimi: {last} {first}\nSyntynyt {born}\nOsoite: {street}, {town}\nPotilasnumero {record}\nPuhelin {phone}\n",
}
LETTERS = {
    "en": "Dear Dr {last}, thank you for referring {bare}, whom I saw on {short}. The symptoms began in {month}; the "
    "operation of {date} went well. The family ({phone}) asks for a visit at {street}.",
    "de": "Sehr geehrter Herr Dr. {last}, wir berichten über {bare}, die am {short} aufgenommen wurde. Die "
    "Beschwerden begannen im {month}, operiert wurde am {date}. Angehörige: {phone}, {street}.",
    "fr": "Cher Docteur {last}, je vous remercie de m'avoir adressé {bare}, vu le {short}. Les douleurs ont débuté en "
    "{month}, opéré le {date}. La famille ({phone}) habite {street}.",
    "es": "Estimado Dr. {last}: le agradezco que me remita a {bare}, a quien vi el {short}. Los síntomas empezaron en "
    "{month} y se operó el {date}. La familia ({phone}) vive en {street}.",
    "nl": "Geachte dr. {last}, hartelijk dank voor de verwijzing van {bare}, gezien op {short}. De klachten begonnen "
    "in {month}, de operatie was op {date}. Familie ({phone}) woont {street}.",
    "sv": "Bäste dr {last}, tack för remiss gällande {bare} som sågs den {short}. Besvären började i {month} och "
    "operation skedde {date}. Anhöriga ({phone}) bor på {street}.",
    "it": "Egregio Dott. {last}, la ringrazio per avermi inviato {bare}, visto il {short}. I sintomi sono iniziati a "
    "{month}, operato in data {date}. I familiari ({phone}) abitano in {street}.",
    "pt": "Caro Dr. {last}, agradeço ter referenciado {bare}, que observei no dia {short}. Os sintomas começaram em "
    "{month} e foi operado a {date}. A família ({phone}) mora em {street}.",
    "da": "Kære dr. {last}, tak for henvisning af {bare}, set den {short}. Symptomerne begyndte i {month}, "
    "operationen fandt sted {date}. Pårørende ({phone}) bor {street}.",
    "nb": "Kjære dr. {last}, takk for henvisning av {bare}, sett den {short}. Plagene begynte i {month}, "
    "operasjonen var {date}. Pårørende ({phone}) bor i {street}.",
    "fi": "Arvoisa tohtori {last}, kiitos lähetteestä koskien: {bare}, tavattu {short}. Oireet alkoivat {month}, "
    "leikkaus oli {date}. Omaiset ({phone}) asuvat {street}.",
}
SIGNATURES = {
    "en": "Electronically signed: {first} {last}, MD on {date}\nDictated but not read. Pager {phone}\ncc: Dr {last}",
    "de": "Mit freundlichen kollegialen Grüßen\nDr. med. {first} {last}\nOberarzt, Durchwahl {phone}\n"
    "{town}, den {date}",
    "fr": "Bien confraternellement,\nDocteur {first} {last}\nSecrétariat : {phone}\nFait à {town}, le {date}",
    "es": "Fdo.: Dr. {first} {last}\nNº colegiado {record}\nTel. consulta {phone}\n{town}, a {date}",
    "nl": "Met collegiale groet,\ndr. {first} {last}, internist\nTelefoon poli {phone}\n{town}, {date}",
    "sv": "Med vänlig hälsning\n{first} {last}, överläkare\nTelefon {phone}\n{town} den {date}",
    "it": "Cordiali saluti,\nDott.ssa {first} {last}\nTel. ambulatorio {phone}\n{town}, {date}",
    "pt": "Com os melhores cumprimentos,\nDra. {first} {last}\nTelefone {phone}\n{town}, {date}",
    "da": "Med venlig hilsen\n{first} {last}, overlæge\nTlf. {phone}\n{town}, den {date}",
    "nb": "Med vennlig hilsen\n{first} {last}, overlege\nTlf. {phone}\n{town}, {date}",
    "fi": "Ystävällisin terveisin\n{first} {last}, erikoislääkäri\nPuh. {phone}\n{town} {date}",
}
STYLES = ("header", "HEADER", "letter", "signature", "typos", "OCR")
KINDS = {"first": "name", "last": "name", "born": "date", "date": "date", "short": "day and month", "month": "month"}
_CONFUSED = {"O": "0", "0": "O", "l": "1", "1": "l", "S": "5", "5": "S", "m": "rn", "B": "8", "I": "l", "u": "ii"}


class Planted(NamedTuple):
    """A text, and the kind, start and end of each identifier in it."""

    text: str
    identifiers: list[tuple[str, int, int]]


def letters(locale: str, fake: Faker, count: int) -> Iterator[tuple[str, Planted]]:
    """Texts of each style, with the style's name."""
    language = locale.split("_")[0]
    rng = Random(locale)
    for _ in range(count):
        yield "header", _fill(HEADERS[language], locale, fake)
        yield "HEADER", _fill(HEADERS[language], locale, fake, str.upper)
        yield "letter", _fill(LETTERS[language], locale, fake)
        yield "signature", _fill(SIGNATURES[language], locale, fake)
        for style, change in (("typos", mistype), ("OCR", misread)):
            template = rng.choice((HEADERS, LETTERS, SIGNATURES))[language]
            yield style, _fill(template, locale, fake, partial(change, rng=rng))


def mistype(part: str, rng: Random) -> str:
    """With two characters exchanged, one lost or one twice, in one of three words or numbers."""
    words = part.split(" ")
    for at, word in enumerate(words):
        if len(word) > 3 and rng.random() < 1 / 3:
            cut = rng.randrange(1, len(word) - 1)
            words[at] = rng.choice(
                (
                    word[: cut - 1] + word[cut] + word[cut - 1] + word[cut + 1 :],
                    word[:cut] + word[cut + 1 :],
                    word[:cut] + word[cut] + word[cut:],
                )
            )
    return " ".join(words)


def misread(part: str, rng: Random) -> str:
    """With a twentieth of the characters that scanners confuse replaced, and some spaces lost or doubled."""
    read = (_CONFUSED.get(each, each) if rng.random() < 0.05 else each for each in part)
    return "".join(rng.choice(("", "  ")) if each == " " and rng.random() < 0.02 else each for each in read)


def _fill(template: str, locale: str, fake: Faker, change: Callable[[str], str] = str) -> Planted:
    values = _values(locale, fake)
    text, identifiers = "", []
    for literal, name, _, _ in Formatter().parse(template):
        text += change(literal)
        if name:
            written = change(values[name])
            identifiers.append((KINDS.get(name, name), len(text), len(text) + len(written)))
            text += written
    return Planted(text, identifiers)


def _values(locale: str, fake: Faker) -> dict[str, str]:
    day = fake.date_between("-90y", "-1y")
    street = fake.street_address().replace("\n", " ")
    return {
        "first": fake.first_name(),
        "last": fake.last_name(),
        "bare": f"{fake.first_name()} {fake.last_name()}",
        "born": format_date(day, fake.random_element(("short", "medium", "long")), locale),
        "date": format_date(day, "long", locale),
        "short": format_skeleton("Md", day, locale=locale),
        "month": format_skeleton("yMMMM", day, locale=locale),
        "record": fake.numerify("%######"),
        "phone": phone_number(locale, fake),
        "street": street,
        "town": f"{fake.postcode()} {fake.city()}",
    }
