"""Surrogates: what takes the position of an identifier, of the same kind and form, the same for each patient.

Every surrogate follows from the key, the patient and the identifier alone, so that documents can be processed in any
order and by any number of processes. Numbers that would be somebody's are avoided where an issuer's rule can show it.
"""

import re
import string
from collections.abc import Callable
from itertools import count

from ..locales.language import words
from ..locales.locale import COUNTRIES, LANGUAGES
from ..phi.check_digits import is_valid
from .key import Numbers
from .words import GIVEN_NAMES, SURNAMES

PLACEHOLDER = "___"

_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
_DEGREES = frozenset(words("md; rn; do; np; pa; pac; c; phd; m; d; r; n; o; p; jr; sr; ii; iii; iv; dr; prof"))
_DIGIT_OR_LETTER = re.compile(r"[^\W_]")
_CHECKS = sorted({number.check for one in COUNTRIES.values() for number in one.numbers if number.check})
_STREET_WORDS = frozenset(
    (
        *words(
            "street; st; avenue; ave; road; rd; boulevard; blvd; lane; ln; drive; dr; court; ct; place; pl; "
            "terrace; ter; highway; hwy; way; circle; cir; square; sq; parkway; pkwy; plaza; trail; trl; "
            "turnpike; tpke; crescent; alley; loop; pike; expressway; crossing; glen; grove; heights; hollow; "
            "knoll; landing; manor; meadow; meadows; mews; ridge; spring; springs; valley; village; vista; north; "
            "south; east; west; n; s; e; w; bis"
        ),
        *(
            word
            for language in LANGUAGES.values()
            for street in language.streets
            for word in street.rstrip(".").split()
        ),
    )
)
_STREET_ENDS = tuple(
    sorted({end.lstrip("-") for one in LANGUAGES.values() for end in one.street_ends}, key=len, reverse=True)
)


def surrogate(kind: str, value: str, numbers: Numbers) -> str:
    """A surrogate of an identifier that is no date; `___` if there is none of its kind."""
    if maker := _MAKERS.get(kind):
        return maker(value, numbers)
    return _number(value, numbers) if any(map(str.isdigit, value)) else PLACEHOLDER


def _name(value: str, numbers: Numbers) -> str:
    """Each word of a name replaced by a name; particles and degrees stay. The last word is the surname, or the first
    before a comma.
    """
    found = [match for match in _WORD.finditer(value) if _is_name(match[0])]
    surname_first = "," in value and value.index(",") > 0 and len(found) > 1 and found[1].start() > value.index(",")
    surname = (found[0] if surname_first else found[-1]).span() if found else None

    def replace(match: re.Match[str]) -> str:
        if not _is_name(match[0]):
            return match[0]
        return _one_name(match[0], SURNAMES if match.span() == surname else GIVEN_NAMES, numbers)

    return _WORD.sub(replace, value) if found else PLACEHOLDER


def _is_name(word: str) -> bool:
    return word.lower() not in _DEGREES and (len(word) > 3 or not word.islower())


def _one_name(word: str, names: tuple[str, ...], numbers: Numbers) -> str:
    folded = word.lower()
    if len(word) == 1:
        return string.ascii_uppercase[numbers("initial", folded) % 26]
    at = numbers("name", folded) % len(names)
    name = names[at] if names[at].lower() != folded else names[(at + 1) % len(names)]
    return name.upper() if word.isupper() else name.lower() if word.islower() else name


def _number(value: str, numbers: Numbers) -> str:
    """Other digits and letters of the same number, which no check digit of a country makes a person's."""
    compact = "".join(_DIGIT_OR_LETTER.findall(value))
    for attempt in count():
        stream = numbers("number", compact.lower(), str(attempt))
        new = _refill(value, stream)
        digits = "".join(_DIGIT_OR_LETTER.findall(new))
        if digits != compact and (len(compact) < 8 or attempt >= 100 or not _is_anybodys(digits.upper())):
            return new
    raise AssertionError


def _is_anybodys(number: str) -> bool:
    return any(is_valid(check, number) for check in _CHECKS)


def _refill(value: str, stream: int) -> str:
    """The value with digits for digits and letters for letters, of the same case."""

    def draw(match: re.Match[str]) -> str:
        nonlocal stream
        kinds = string.digits if match[0].isdigit() else string.ascii_lowercase
        stream, index = divmod(stream, len(kinds))
        return kinds[index].upper() if match[0].isupper() else kinds[index]

    return _DIGIT_OR_LETTER.sub(draw, value)


def _social_security_number(value: str, numbers: Numbers) -> str:
    """Of area 666, which is not issued."""
    digits = iter(f"666{numbers('number', _digits(value)) % 10**6:06}")
    return re.sub(r"\d", lambda match: next(digits, "0"), value)


def _phone(value: str, numbers: Numbers) -> str:
    """The code of the country and zeros in front stay. Ten digits of North America are of exchange 555, line 01xx."""
    digits = _digits(value)
    drawn = numbers("phone", digits[-9:])
    kept = re.match(r"\D*(?:(?:\+|00)[ (]*\d{1,2}|0|1(?=[-. (]))?", value)
    start = kept.end() if kept else 0
    left = len(_digits(value[start:]))
    if (left == 10 and not value.lstrip("( ").startswith(("0", "+"))) or value.startswith("+1"):
        drawn, area = divmod(drawn, 800)
        new = f"{200 + area}55501{drawn % 100:02}"[-left:]
    else:
        new = f"{drawn:09}"[-left:].rjust(left, "0")
    stream = iter(new)
    return value[:start] + re.sub(r"\d", lambda match: next(stream), value[start:])


def _email(value: str, numbers: Numbers) -> str:
    drawn, folded = numbers("email", value.lower()), value.lower()
    name = f"{SURNAMES[drawn % len(SURNAMES)].lower()}{drawn // 1000 % 1000}@example.org"
    return name if name != folded else f"{name[:-3]}com"


def _url(value: str, numbers: Numbers) -> str:
    start = "www.example.org/" if value[:4].lower() == "www." else "https://www.example.org/"
    end = value[len(value.rstrip(".,;:!?)")) :]  # of the sentence
    return f"{start}{numbers('url', value) % 16**8:08x}{end}"


def _ip_address(value: str, numbers: Numbers) -> str:
    """Of the addresses for documentation, RFC 5737."""
    return f"192.0.2.{numbers('ip_address', value) % 256}"


def _address(value: str, numbers: Numbers) -> str:
    """Another number and another name of the street; the word for a street stays."""

    def replace(match: re.Match[str]) -> str:
        word, folded = match[0], match[0].lower()
        if word.islower() or folded in _STREET_WORDS:
            return word
        drawn = SURNAMES[numbers("street", folded) % len(SURNAMES)]
        end = next((end for end in _STREET_ENDS if folded.endswith(end.rstrip(".")) and len(folded) > len(end) + 1), "")
        new = drawn + end.rstrip(".")
        return new.upper() if word.isupper() else new

    stream = numbers("house", value.lower())
    return _refill_digits(_WORD.sub(replace, value), stream)


def _refill_digits(value: str, stream: int) -> str:
    """Other digits, the first of each number not zero."""

    def draw(match: re.Match[str]) -> str:
        nonlocal stream
        low = 10 ** (len(match[0]) - 1)
        stream, number = divmod(stream, 9 * low)
        return str(low + number)

    return re.sub(r"\d+", draw, value)


def _zip_code(value: str, numbers: Numbers) -> str:
    """Other digits; the state stays."""
    return re.sub(r"\d", "{}", value).format(*f"{numbers('postcode', value):09}"[-9:])


def _postcode(value: str, numbers: Numbers) -> str:
    """Other digits and letters; the country before a hyphen stays."""
    head, hyphen, rest = value.rpartition("-") if re.match(r"[A-Z]{1,3}-\d", value) else ("", "", value)
    return head + hyphen + _refill(rest, numbers("postcode", value.lower()))


def _age(value: str, numbers: Numbers) -> str:
    return re.sub(r"9\d|1[01]\d", "90", value)


def _digits(value: str) -> str:
    return "".join(filter(str.isdigit, value))


_MAKERS: dict[str, Callable[[str, Numbers], str]] = {
    "address": _address,
    "age_over_89": _age,
    "email": _email,
    "ip_address": _ip_address,
    "name": _name,
    "phone": _phone,
    "postcode": _postcode,
    "social_security_number": _social_security_number,
    "url": _url,
    "zip_code": _zip_code,
}
