"""Identifiers that follow a cue, a word such as `Frau`, `Apellidos:`, `Hospital No` or `rue`: names, numbers, streets.

Cues are searched in all languages at once, because a text may be in another language than expected, and nearly nothing
else has their form. Only doubtful titles are limited to the languages of the text.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import NamedTuple

from ..locales.french import FRENCH
from ..locales.language import words
from ..locales.locale import LANGUAGES
from .first_characters import Searcher, Words, compile_words
from .word_trie import any_of

UPPER = "A-ZÀ-ÖØ-ÞĀĂĄĆČĎĐĒĘĚĞĪİŁŃŇŌŐŒŘŚŞŠŤŪŮŰŸŹŻŽ"
LOWER = "a-zß-öø-ÿāăąćčďđēęěğīıłńňōőœřśşšťūůűźżž"
NAME = rf"[{UPPER}](?:[{UPPER}{LOWER}'-]{{0,40}}[{UPPER}{LOWER}])"
_PARTICLES = "(?:(?:v[ao]n|zu[mr]?|de[nrsl]?|dell[ae]|d[aio]s?|du|la|le|el|het|te[nr]?|af|y|mc|'t) ){0,3}"
_LETTERS = f"[{UPPER}{LOWER}][{UPPER}{LOWER}'-]{{1,40}}"
_SMALL = f"[{LOWER}][{LOWER}'-]{{1,40}}"
_WORDS = rf"{_PARTICLES}{NAME}(?:(?:,? |-){_PARTICLES}{NAME}){{1,3}}"

_TITLED = re.compile(rf"(?: {{1,2}}|(?<=\.)){_PARTICLES}{NAME}(?:[ -]{_PARTICLES}{NAME}){{0,2}}")
_NAME_BEFORE = re.compile(rf"(?<![^\W_]){NAME}(?: {_PARTICLES}{NAME}){{1,2}},[ \n]\Z")  # Anna Berg, överläkare
_MEDICAL_TERMS = ("DR", "FR", "HR", "IR", "ME", "MR", "MRS", "MS", "MW", "MX", "OA", "PR", "SR")
_UNITS = ("hr.", "mw.", "mW.")
_A_NUMBER = re.compile(r"\d ?\Z")

_SEPARATOR = re.compile(r"(?: ?\([^()\n]{1,20}\))?[ \t]*(?:[:=][ \t]*|\t[ \t]*| {3,})")
_FIELD_END = r"(?=[ \t]*(?:[\n\r|;(]|\Z|  |\t|,? ?(?:dob|DOB|d\.o\.b|born|geb|né|nac(?!h)|nat|\*|\d)))"
_NAME_ALONE = re.compile(rf"{_PARTICLES}{_LETTERS}(?:,? {_PARTICLES}{NAME}){{0,3}}")
_FULL_NAME = re.compile(rf"{_WORDS}|{_LETTERS}, ?{_LETTERS}{_FIELD_END}")
_PERSON = re.compile(rf"{_WORDS}{_FIELD_END}|{_SMALL}(?: {_SMALL}){{0,2}}, ?{_SMALL}(?: {_SMALL})?{_FIELD_END}")

_LABELLED_NUMBER = re.compile(
    r"(?P<between>\.?(?:[ \t]?(?:nr|no|n[°ºo]|num|número|numero|number|id|is|est|es)\b\.?)?"
    r"[ \t]*(?:[:#=°º][ \t#:]{0,3}|\(|-)?)"
    r"(?P<number>(?:[A-Z]{1,4}[ /-]?|[a-z]{1,3})?\d(?:[ ./-]?\d|[ /-]?[A-Z](?![A-Za-z])){3,23})"
)
_RECORD = re.compile(r"\W{0,4}(?:[A-Z]{1,3})?\d{5,24}")
_RECORD_LABELS = frozenset(
    words(
        "mrn; medical record; medical record number; medical record no; unit no; account; account number; account no;"
        "patient id; accession; accession number; accession no"
    )
)
_PHONE = re.compile(r"[ \t.:=#n°º()]{0,6}(?P<number>[+(]{0,2}\d(?:[ ()./-]{0,3}\d){6,15})(?!\d)")
_OLD_AGE = re.compile(r"[ \t:=(]{0,3}(?P<age>9\d|1[01]\d)(?!\d|[.,-] ?\d|[ ]?(?:%|m[glm]|[-/]))")

_OF_THE = "(?:(?:d[eiou]s?|dell?[aei]?|l[aeo]s?|l'|d'|das|of|der) ?){0,3}"
_STREET_NAME = rf"\.? {{0,2}}{_OF_THE}{NAME}(?:[ -]{_PARTICLES}{NAME}){{0,4}}"
_STREET = re.compile(_STREET_NAME)
_HOUSE = r" {0,2},? {0,2}(?:(?:[nN][.°ºr]{1,2} ?)?\d{1,4}(?![\d.,]\d|\d)|s/n\b|[kK]m\.? ?\d{1,4})"
_STREET_AND_NUMBER = re.compile(_STREET_NAME + _HOUSE)
_SMALL_STREET = re.compile(rf"\.?(?: {{1,2}}[^\W\d_][\w'.-]{{0,20}}){{1,6}}?{_HOUSE}")
_SPANISH_STREETS = ("calle", "c/", "avenida", "avda", "avda.", "av.", "plaza", "pza", "pza.", "paseo", "ctra", "ctra.")
_BOX = re.compile(r"[ :.]{1,2}(?P<number>\d[\d ]{0,6}\d|\d)(?!\d|[.,]\d)")
_NUMBER_BEFORE = re.compile(r"(?<![\d.,])\d{1,5} ?(?:bis|ter|[a-zA-Z])?,? \Z")
_SMALL_NAME = re.compile(rf" {{0,2}}{_OF_THE}{_SMALL}")
_SMALL_STREETS = ("rue", "avenue", "av.", "boulevard", "bd", "chemin", "quai", "chaussée")

_PLACEHOLDERS = frozenset(
    words(
        "unknown; redacted; deleted; removed; anonymous; anonymised; anonymized; deidentified; withheld; not; none;"
        "nil; null; na; unbekannt; anonym; anonymisiert; geschwärzt; inconnu; inconnue; anonyme; anonymisé;"
        "desconocido; desconocida; anónimo; anonimizado; onbekend; anoniem; geanonimiseerd; okänd; anonymiserad;"
        "sconosciuto; anonimo; anonimizzato; desconhecido; the; of; and; is; was; xyz"
    )
)
_COLLEAGUES = frozenset(  # a letter's salutation without a name
    words(
        "colleague; colleagues; doctor; sir; madam; kollege; kollegen; kollegin; kolleginnen; doktor; professor;"
        "oberarzt; chefarzt; confrère; confrères; consœur; collègue; collègues; docteur; maître; compañero; compañera;"
        "colega; colegas; collega; collega's; dottore; dottoressa; collegae; kollega; kolleger; kollegor;"
        "director; direktor; directeur"
    )
)
_NOT_A_TITLE = re.compile(r"(?:vitamin[ae]? ?|[\d/+-] ?|[A-Z]\.)\Z", re.IGNORECASE)
_ENGLISH_NAME = ("name", "names")


class Found(NamedTuple):
    """An identifier in a text: its kind and its position in characters."""

    kind: str
    start: int
    end: int


class Cues(NamedTuple):
    """The pattern of all cues, and for each of them what may follow it: names of attributes of `Language`."""

    pattern: re.Pattern[str]
    words: Words
    followed_by: dict[str, tuple[str, ...]]


@cache
def compile_cues(languages: tuple[str, ...]) -> Cues:
    """The cues of all languages, and the doubtful ones of these."""
    followed_by: dict[str, list[str]] = defaultdict(list)
    for code, language in LANGUAGES.items():
        for attribute in ("names", "full_names", "people", "numbers", "phones", "ages", "streets", "boxes"):
            _add(followed_by, getattr(language, attribute), attribute)
        titles = (*language.titles, *(language.doubtful_titles if code in languages else ()))
        _add(followed_by, (form for title in titles for form in (title, title.rstrip("."))), "titles")
    pattern = rf"(?<![^\W_])(?:{any_of(followed_by)})(?:(?<=[./#])|(?![^\W\d_]))"
    followed = {cue: tuple(attributes) for cue, attributes in followed_by.items()}
    return Cues(re.compile(pattern), compile_words(followed), followed)


def _add(followed_by: dict[str, list[str]], cues: Iterable[str], attribute: str) -> None:
    for cue in cues:
        if attribute not in followed_by[cue]:
            followed_by[cue].append(attribute)


def find_after_cues(cues: Cues, texts: Sequence[str], folded: Searcher) -> Iterator[tuple[int, Found]]:
    """What follows a cue, with the number of the text. `folded` has the texts in lower case."""
    for number, match in folded.find_words(cues.pattern, cues.words):
        start, end = match.span()
        for attribute in cues.followed_by[match[0]]:
            if found := _FOLLOWING[attribute](texts[number], start, end):
                yield number, found


def _titled(text: str, start: int, end: int) -> Found | None:
    """A name after a title. `MS`, `MR` and `DR` in capitals are also medical terms, and `hr` and `ms` are units."""
    title = text[start:end]
    if not (match := _TITLED.match(text, end)):
        before = _NAME_BEFORE.search(text, max(0, start - 50), start) if title.islower() and len(title) > 3 else None
        return Found("name", before.start(), end) if before and not _is_placeholder(before[0]) else None
    in_capitals = title.isupper() and len(title.rstrip(".")) > 1
    if in_capitals and (title in _MEDICAL_TERMS or not match[0].strip()[:2].isupper()):
        return None
    if title.islower() and (len(title) == 2 or title == "ms."):
        return None
    if title in _UNITS and _A_NUMBER.search(text, max(0, start - 2), start):
        return None
    if len(title.rstrip(".")) == 1 and (title[-1] != "." or title.islower()):
        return None
    if len(title) == 2 and title[1] == "." and _NOT_A_TITLE.search(text, max(0, start - 9), start):
        return None  # vitamin D.
    return None if _is_placeholder(match[0]) else Found("name", start, match.end())


def _field(pattern: re.Pattern[str], text: str, start: int, end: int) -> Found | None:
    """A name after a label and a separator."""
    if not (separator := _SEPARATOR.match(text, end)):
        return None
    label = text[start:end].lower()
    if label in _ENGLISH_NAME and text[start - 1 : start] in (" ", "-", "/") and text[start - 2 : start - 1].isalpha():
        return None  # the end of another label: `Drug name: ...`
    match = pattern.match(text, separator.end())
    return Found("name", start, match.end()) if match and not _is_placeholder(match[0]) else None


def _is_placeholder(name: str) -> bool:
    first, *more = name.strip(" .,").split(" ")
    first = first.strip(".,'-").lower()
    return first in _PLACEHOLDERS or (first in _COLLEAGUES and not more) or not first.strip("x")


def _number(text: str, start: int, end: int) -> Found | None:
    """A number after its label: at least four digits, six where nothing but a space separates them."""
    if text[start:end].lower() in _RECORD_LABELS and (match := _RECORD.match(text, end)):
        return Found("record_number", start, match.end())
    match = _LABELLED_NUMBER.match(text, end)
    if not match or (not match["between"] and text[end - 1].isalnum()):
        return None
    digits = sum(character.isdigit() for character in match["number"])
    explicit = any(character in ":#=°º" for character in match["between"]) or text[start:end].lower().endswith(
        ("no", "nr", "no.", "number", "nummer", "id", "nr.")
    )
    few = explicit and "." not in match["number"]
    return Found("record_number", start, match.end()) if digits >= (4 if few else 6) else None


def _phone(text: str, start: int, end: int) -> Found | None:
    match = _PHONE.match(text, end)
    return Found("phone", match.start("number"), match.end()) if match else None


def _age(text: str, start: int, end: int) -> Found | None:
    match = _OLD_AGE.match(text, end)
    return Found("age_over_89", start, match.end("age")) if match and match.start("age") > end else None


def _street(text: str, start: int, end: int) -> Found | None:
    """A street with its number before, as in `12, rue de la Paix`, or behind, as in `Via Roma 12`."""
    cue = text[start:end]
    before = _NUMBER_BEFORE.search(text, max(0, start - 10), start) if cue.lower() in FRENCH.streets else None
    if before and (match := _STREET.match(text, end) or (cue in _SMALL_STREETS and _SMALL_NAME.match(text, end))):
        return Found("address", before.start(), match.end())
    is_named = cue[0].isupper() or cue[-1] == "/" or cue in _SMALL_STREETS
    if is_named and (match := _STREET_AND_NUMBER.match(text, end)):
        return Found("address", start, match.end())
    if cue[0].isupper() and cue.lower() in _SPANISH_STREETS and (match := _SMALL_STREET.match(text, end)):
        return Found("address", start, match.end())
    return None


def _box(text: str, start: int, end: int) -> Found | None:
    """A box at a post office: `P.O. Box 123`."""
    match = _BOX.match(text, end)
    return Found("address", start, match.end()) if match else None


_FOLLOWING = {
    "titles": _titled,
    "names": lambda text, start, end: _field(_NAME_ALONE, text, start, end),
    "full_names": lambda text, start, end: _field(_FULL_NAME, text, start, end),
    "people": lambda text, start, end: _field(_PERSON, text, start, end),
    "numbers": _number,
    "phones": _phone,
    "ages": _age,
    "streets": _street,
    "boxes": _box,
}
