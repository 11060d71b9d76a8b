"""Values of records, checked: the same meaning has the same spelling, and errors name the file and the line.

pandas writes 1 as 1.0 as soon as one number of a column is missing, and JSON has numbers where other files have text.
So an integral number is spelled as an integer, whatever the file's format. Errors never show a value.
"""

import math
import re
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from ...configs.errors import UserError

_INTEGRAL = re.compile(r"(-?[0-9]+)\.0")


def position(path: Path, number: int) -> str:
    """File and line of a record, from the number that `read_records` yields with it; in CSV and Parquet its number."""
    name = path.name.lower().removesuffix(".gz")
    if name.endswith((".jsonl", ".ndjson", ".txt")):
        return f"{path}: line {number}"
    return f"{path}: line {number + 1}" if name.endswith(".tsv") else f"{path}: record {number}"


def read_text(record: Mapping[str, Any], column: str, where: str) -> str:
    """The text in a column; UserError if there is none, or something else."""
    value = record[column]
    _require_present(value, column, where)
    if not isinstance(value, str):
        raise _wrong_type(value, column, where, "text")
    return value


def read_class(record: Mapping[str, Any], column: str, where: str) -> str:
    """The class in a column: a text or a number; UserError for none, and for a list, since a text has one class."""
    value = record[column]
    _require_present(value, column, where)
    if isinstance(value, bool):
        return str(value)
    if not isinstance(value, str | int | float | Decimal):
        raise _wrong_type(value, column, where, "one class, a text or a number")
    return _spell(value)


def read_identifier(record: Mapping[str, Any], column: str, where: str) -> str:
    """The identifier in a column: a text or a number."""
    value = record[column]
    _require_present(value, column, where)
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise _wrong_type(value, column, where, "a text or a number")
    return _spell(value)


def read_number(record: Mapping[str, Any], column: str, where: str) -> float:
    """The finite number in a column."""
    value = record[column]
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise UserError(f"{where}: {column} is not a number; expected one such as 3.5: fill it in or remove the record")
    return number


def _require_present(value: Any, column: str, where: str) -> None:
    absent = value is None or (isinstance(value, float) and math.isnan(value))
    if absent or (isinstance(value, str) and not value.strip()):
        raise UserError(f"{where} has no {column}; fill it in or remove the record")


def _wrong_type(value: Any, column: str, where: str, expected: str) -> UserError:
    return UserError(f"{where}: {column} is of the type {type(value).__name__}; expected {expected}")


def _spell(value: str | float | Decimal) -> str:
    text = str(int(value) if isinstance(value, float) and value.is_integer() else value).strip()
    integral = _INTEGRAL.fullmatch(text)
    return integral[1] if integral else text
