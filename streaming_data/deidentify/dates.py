"""Dates moved by a number of days, in the spelling that they had.

What a date lacks is assumed, so that it moves with the others: the year of a day and month is that of the nearest date
with a year, the day of a month and year is the 15th, and that of a year alone its middle.
"""

import re
from collections.abc import Sequence
from datetime import date, timedelta
from typing import NamedTuple

from .months import month_of, name_month

_TOKEN = re.compile(r"\d+|[^\W\d_]+")
_ORDINAL = re.compile(r"(?:st|nd|rd|th|er)(?![^\W\d_])", re.IGNORECASE)
_MONTH_FIRST = ("en_US", "en_CA")
_PIVOT = 69
"""Years of two digits from here on are of the 20th century, as in POSIX."""
_LEAP_YEAR = 2000


class _Part(NamedTuple):
    """A token of a date: `role` is one of year, month, day and compact, the date in eight digits."""

    role: str
    start: int
    end: int


class WrittenDate(NamedTuple):
    """A date as it is written.

    Attributes:
        year: None if it has none.
    """

    text: str
    parts: tuple[_Part, ...]
    year: int | None
    month: int | None
    day: int | None


def parse(text: str, locales: Sequence[str]) -> WrittenDate | None:
    """What a date says; None if it is not understood: two dates, no date that exists, or another form.

    Args:
        locales: decide whether 3/4 is in March or in April. Without any it is in March, as the audit has it.
    """
    tokens = [_Part("", *match.span()) for match in _TOKEN.finditer(text)]
    numbers = [token for token in tokens if text[token.start].isdigit()]
    month_names = [
        token for token in tokens if not text[token.start].isdigit() and month_of(text[token.start : token.end])
    ]
    if len(month_names) > 1 or not 1 <= len(numbers) + len(month_names) <= 3 or not numbers:
        return None
    roles = _roles(text, numbers, bool(month_names), not locales or any(one in _MONTH_FIRST for one in locales))
    if roles is None:
        return None
    parts = [token._replace(role=role) for token, role in zip(numbers, roles, strict=True)]
    parts = sorted([*parts, *(token._replace(role="month") for token in month_names)], key=lambda part: part.start)
    written = {part.role: text[part.start : part.end] for part in parts}
    if "compact" in written:
        year, month, day = (int(written["compact"][at]) for at in (slice(4), slice(4, 6), slice(6, 8)))
        return _if_real(WrittenDate(text, tuple(parts), year, month, day))
    month_written = written.get("month")
    month_number = (
        None if month_written is None else int(month_written) if month_written.isdigit() else month_of(month_written)
    )
    day_number = int(written["day"]) if "day" in written else None
    return _if_real(WrittenDate(text, tuple(parts), _full_year(written.get("year")), month_number, day_number))


def shift(written: WrittenDate, days: int, year: int | None, locales: tuple[str, ...]) -> str | None:
    """The date moved by `days`, with each part as it was written; None if it leaves the years that exist.

    Args:
        year: of the nearest date, for a date without one.
    """
    assumed = written.year or year or _LEAP_YEAR
    if written.month == 2 and written.day == 29 and written.year is None:
        assumed = _LEAP_YEAR
    try:
        start = date(assumed, written.month or 7, written.day or (15 if written.month else 1))
        moved = start + timedelta(days)
    except (ValueError, OverflowError):
        return None
    padded, short = _is_padded(written), "-" in written.text  # 3-May-19 is abbreviated
    pieces, at = [], 0
    for part in written.parts:
        old = written.text[part.start : part.end]
        pieces += [written.text[at : part.start], _write(part.role, old, moved, padded, short, locales)]
        at = part.end
        if part.role == "day" and (ordinal := _ORDINAL.match(written.text, at)):
            pieces.append(_ordinal(moved.day, ordinal[0]))
            at = ordinal.end()
    return "".join(pieces) + written.text[at:]


def _roles(text: str, numbers: Sequence[_Part], named: bool, month_first: bool) -> list[str] | None:
    widths = [token.end - token.start for token in numbers]
    values = [int(text[token.start : token.end]) for token in numbers]
    if any(width not in (1, 2, 4, 8) for width in widths):
        return None
    years = [at for at, width in enumerate(widths) if width == 4]
    if len(years) > 1:
        return None
    if widths == [8] and not named:
        return ["compact"]
    if named:
        if len(numbers) == 2:
            return ["year", "day"] if years == [0] else ["day", "year"]
        return ["year" if years or values[0] > 31 or text[numbers[0].start - 1 : numbers[0].start] == "'" else "day"]
    if len(numbers) == 3:
        if years == [0]:
            return ["year", "month", "day"]
        pair = _day_and_month(values[:2], month_first and text[numbers[0].end] != ".")
        return pair and [*pair, "year"]
    if len(numbers) == 2:
        if years:
            return ["year", "month"] if years == [0] else ["month", "year"]
        return _day_and_month(values, month_first and text[numbers[0].end] != ".") or ["month", "year"]
    return ["year"] if years else None


def _day_and_month(values: Sequence[int], month_first: bool) -> list[str] | None:
    orders = [["month", "day"], ["day", "month"]]
    for order in orders if month_first else orders[::-1]:
        if 1 <= values[order.index("month")] <= 12 and 1 <= values[order.index("day")] <= 31:
            return order
    return None


def _full_year(written: str | None) -> int | None:
    if written is None or len(written) == 4:
        return int(written) if written else None
    return int(written) + (1900 if int(written) >= _PIVOT else 2000)


def _if_real(written: WrittenDate) -> WrittenDate | None:
    """None if there is no such day."""
    try:
        date(written.year or _LEAP_YEAR, written.month or 1, written.day or 1)
    except ValueError:
        return None
    return written


def _is_padded(written: WrittenDate) -> bool:
    """Whether days and months of one digit have a zero before it, as far as can be seen."""
    numbers = [written.text[part.start : part.end] for part in written.parts if part.role in ("day", "month")]
    numbers = [number for number in numbers if number.isdigit()]
    if any(len(number) == 1 for number in numbers):
        return False
    return any(number.startswith("0") for number in numbers) or len(numbers) == 2


def _write(role: str, old: str, moved: date, padded: bool, short: bool, locales: tuple[str, ...]) -> str:
    if role == "compact":
        return moved.strftime("%Y%m%d")
    if role == "year":
        return str(moved.year) if len(old) == 4 else f"{moved.year % 100:02}"
    if not old.isdigit():
        return name_month(moved.month, old, locales, short)
    return f"{moved.day if role == 'day' else moved.month:{'02' if padded else ''}}"


def _ordinal(day: int, like: str) -> str:
    if like.lower() == "er":  # French, of the first alone
        return like if day == 1 else ""
    ending = "th" if 11 <= day <= 13 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    return ending.upper() if like.isupper() else ending
