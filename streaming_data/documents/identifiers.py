"""Identifiers as programs write them: one patient has one spelling, in every file, and nobody is called `nan`."""

import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from ...configs.errors import UserError

_INTEGRAL = re.compile(r"(-?[0-9]+)\.0+")
# What pandas reads as missing (its `na_values`), in any case.
_MISSING = {"", "<na>", "n/a", "na", "nan", "none", "null", "#na", "#n/a", "#n/a n/a"} | {
    f"{sign}{name}" for sign in ("", "-") for name in ("nan", "1.#ind", "1.#qnan")
}


def identifier(value: Any) -> str:
    """A text or a number without blanks around it, an integral one as an integer; empty if it is missing.

    pandas makes 1 into 1.0 as soon as one number of a column is missing.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        return ""
    text = str(int(value) if isinstance(value, float) and value.is_integer() else value).strip()
    if whole := _INTEGRAL.fullmatch(text):
        text = whole[1]
    return "" if text.casefold() in _MISSING else text


def missing(path: Path, columns: Sequence[str], place: str, rest: Iterable[tuple[int, Mapping[str, Any]]]) -> UserError:
    """Of a file whose record at `place` is the first without an identifier in each of the columns; counts the rest."""
    after = sum(not all(identifier(row[column]) for column in columns) for _, row in rest)
    others = f" (and {after:,} after it)" if after else ""
    return UserError(
        f"{path}: {place}{others} has no {' or no '.join(columns)}; every record needs a text or a number there, so "
        "that a patient's notes stay together: fill it in, or take the records without it out of the file"
    )
