"""Identifier columns: one spelling per patient across files, and missing values are rejected, not read as `nan`."""

import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from ...configs.errors import UserError

_INTEGRAL = re.compile(r"(-?[0-9]+)\.0+")
# What pandas reads as missing (its `na_values`), ignoring case.
_MISSING = {"", "<na>", "n/a", "na", "nan", "none", "null", "#na", "#n/a", "#n/a n/a"} | {
    f"{sign}{name}" for sign in ("", "-") for name in ("nan", "1.#ind", "1.#qnan")
}


def normalize_identifier(value: Any) -> str:
    """A text or number as text without surrounding spaces, an integral number as an integer; empty if missing.

    pandas turns 1 into 1.0 as soon as one number of a column is missing.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        return ""
    text = str(int(value) if isinstance(value, float) and value.is_integer() else value).strip()
    if integral := _INTEGRAL.fullmatch(text):
        text = integral[1]
    return "" if text.casefold() in _MISSING else text


def missing_identifier(
    path: Path, columns: Sequence[str], position: str, rest: Iterable[tuple[int, Mapping[str, Any]]]
) -> UserError:
    """The error for a file whose record at `position` is the first that lacks an identifier; counts those in `rest`."""
    after = sum(not all(normalize_identifier(row[column]) for column in columns) for _, row in rest)
    others = f" (and {after:,} after it)" if after else ""
    return UserError(
        f"{path}: {position}{others} has no {' or no '.join(columns)}; every record needs a text or a number there, so "
        "that a patient's notes stay in one split: fill it in, or remove the records without it from the file"
    )
