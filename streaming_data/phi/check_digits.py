"""Check digits of national numbers, by name: whether a number, without spaces and punctuation, can have been issued.

The rules are those that the issuers publish. Where the number holds a date of birth, the date is checked too.
"""

from collections.abc import Callable, Sequence

_DNI = "TRWAGMYFPDXBNJZSQVHLCKE"
_ODD_DIGITS = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21)
_ODD_LETTERS = (*_ODD_DIGITS, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)
_ODD = dict(zip("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", _ODD_DIGITS + _ODD_LETTERS, strict=True))


def is_valid(check: str, number: str) -> bool:
    """Whether the number satisfies the check; one of a wrong form does not."""
    try:
        return _CHECKS[check](number)
    except (ValueError, IndexError, KeyError):
        return False


def _weighted(digits: str, weights: Sequence[int]) -> int:
    return sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=True))


def _value(character: str) -> int:
    """0-9, A = 10 to Z = 35."""
    return int(character, 36)


def _cross_sum(value: int) -> int:
    return value // 10 + value % 10


def _luhn(number: str) -> bool:
    values = [_value(character) for character in number]
    doubled = [2 * value - 9 if 2 * value > 9 else 2 * value for value in values[-2::-2]]
    return (sum(values[-1::-2]) + sum(doubled)) % 10 == 0


def _nhs(number: str) -> bool:
    return len(number) == 10 and -_weighted(number[:9], range(10, 1, -1)) % 11 == int(number[9])


def _phn(number: str) -> bool:
    total = sum(int(digit) * weight % 11 for digit, weight in zip(number[1:9], (2, 4, 8, 5, 10, 9, 7, 3), strict=True))
    return number[0] == "9" and -total % 11 == int(number[9])


def _luhn_or_phn(number: str) -> bool:
    """A health card of Ontario, or of British Columbia."""
    return _luhn(number[:10]) or _phn(number)


def _ramq(number: str) -> bool:
    """Quebec: name, then the date of birth, with 50 added to the month of a woman."""
    month, day = int(number[6:8]), int(number[8:10])
    return 1 <= (month - 50 if month > 50 else month) <= 12 and 1 <= day <= 31


def _cip(number: str) -> bool:
    """Catalonia: name, sex, date of birth."""
    return number[4] in "01" and 1 <= int(number[7:9]) <= 12 and 1 <= int(number[9:11]) <= 31


def _medicare(number: str) -> bool:
    return _weighted(number[:8], (1, 3, 7, 9, 1, 3, 7, 9)) % 10 == int(number[8])


def _pps(number: str) -> bool:
    second = number[8:9]
    total = _weighted(number[:7], range(8, 1, -1)) + 9 * (0 if second in ("", "W") else ord(second) - 64)
    return number[7] == "WABCDEFGHIJKLMNOPQRSTUV"[total % 23]


def _kvnr(number: str) -> bool:
    digits = f"{ord(number[0]) - 64:02}{number[1:9]}"
    return sum(_cross_sum(int(digit) * (1 + at % 2)) for at, digit in enumerate(digits)) % 10 == int(number[9])


def _rvnr(number: str) -> bool:
    digits = f"{number[:8]}{ord(number[8]) - 64:02}{number[9:11]}"
    weights = (2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1)
    return sum(_cross_sum(int(digit) * weight) for digit, weight in zip(digits, weights, strict=True)) % 10 == int(
        number[11]
    )


def _idnr(number: str) -> bool:
    """German tax number, ISO 7064 modulo 11, 10."""
    product = 10
    for digit in number[:10]:
        total = (int(digit) + product) % 10 or 10
        product = 2 * total % 11
    return number[0] != "0" and (11 - product) % 10 == int(number[10])


def _svnr(number: str) -> bool:
    return _weighted(number, (3, 7, 9, 0, 5, 8, 4, 2, 1, 6)) % 11 == int(number[3])


def _ean(number: str) -> bool:
    return _weighted(number, (1, 3) * 6 + (1,)) % 10 == 0


def _nir(number: str) -> bool:
    digits = number[:13].replace("2A", "19").replace("2B", "18")
    return 97 - int(digits) % 97 == int(number[13:15])


def _belgian(number: str) -> bool:
    return int(number[9:11]) in (97 - int(number[:9]) % 97, 97 - int(f"2{number[:9]}") % 97)


def _dni(number: str) -> bool:
    first = "XYZ".find(number[0])
    return _DNI[int(number[:-1] if first < 0 else f"{first}{number[1:-1]}") % 23] == number[-1]


def _nass(number: str) -> bool:
    province, middle = int(number[:2]), int(number[2:10])
    return (int(number[:10]) if middle >= 10**7 else province * 10**7 + middle) % 97 == int(number[10:])


def _bsn(number: str) -> bool:
    return int(number) > 0 and _weighted(number, (9, 8, 7, 6, 5, 4, 3, 2, -1)) % 11 == 0


def _codice_fiscale(number: str) -> bool:
    values = [
        _ODD[character] if at % 2 == 0 else _value(character) % 10 if character.isdigit() else ord(character) - 65
        for at, character in enumerate(number[:15])
    ]
    return chr(65 + sum(values) % 26) == number[15]


def _nif(number: str) -> bool:
    remainder = -_weighted(number[:8], range(9, 1, -1)) % 11
    return remainder % 10 == int(number[8])


def _cpf(number: str) -> bool:
    return all(
        10 * _weighted(number[:length], range(length + 1, 1, -1)) % 11 % 10 == int(number[length]) for length in (9, 10)
    )


def _cns(number: str) -> bool:
    return _weighted(number, range(15, 0, -1)) % 11 == 0


def _cpr(number: str) -> bool:
    """Denmark: the date of birth, with 60 added to the day of a replacement. No check digit since 2007."""
    day = int(number[:2])
    return 1 <= (day - 60 if day > 60 else day) <= 31 and 1 <= int(number[2:4]) <= 12


def _fodselsnummer(number: str) -> bool:
    """Norway: 40 is added to the day of a temporary (D) number, to the month of a hospital's (H) number."""
    day, month = int(number[:2]), int(number[2:4])
    date = 1 <= (day - 40 if day > 40 else day) <= 31 and 1 <= (month - 40 if month > 40 else month) <= 12
    first = _weighted(number[:10], (3, 7, 6, 1, 8, 9, 4, 5, 2, 1)) % 11 == 0
    return date and first and _weighted(number, (5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1)) % 11 == 0


def _hetu(number: str) -> bool:
    digits = number[:6] + number[-4:-1]  # without the mark of the century
    return "0123456789ABCDEFHJKLMNPRSTUVWXY"[int(digits) % 31] == number[-1]


def _niss(number: str) -> bool:
    return 9 - _weighted(number[:10], (29, 23, 19, 17, 13, 11, 7, 5, 3, 2)) % 10 == int(number[10])


_CHECKS: dict[str, Callable[[str], bool]] = {
    "belgian": _belgian,
    "bsn": _bsn,
    "cartao_cidadao": _luhn,
    "cip": _cip,
    "cns": _cns,
    "codice_fiscale": _codice_fiscale,
    "cpf": _cpf,
    "cpr": _cpr,
    "dni": _dni,
    "ean": _ean,
    "fodselsnummer": _fodselsnummer,
    "hetu": _hetu,
    "idnr": _idnr,
    "kvnr": _kvnr,
    "luhn": _luhn,
    "luhn_or_phn": _luhn_or_phn,
    "medicare": _medicare,
    "nass": _nass,
    "nhs": _nhs,
    "nif": _nif,
    "nir": _nir,
    "niss": _niss,
    "personnummer": lambda number: _luhn(number[-10:]),
    "pps": _pps,
    "ramq": _ramq,
    "rvnr": _rvnr,
    "svnr": _svnr,
}
