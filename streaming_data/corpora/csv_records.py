"""CSV files, record by record, with errors that say which record."""

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...configs.errors import UserError
from .files import open_text, reading

_LONGEST_FIELD = 1 << 30


def read_csv(path: Path, needed: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """The records of a CSV file with a header that has the columns `needed`, numbered from 1."""
    csv.field_size_limit(_LONGEST_FIELD)
    number = 0
    with open_text(path) as file, reading(path, lambda: f"record {number}" if number else "its first bytes"):
        rows = csv.reader(file, strict=True)
        try:
            header = [name.strip().removeprefix("\ufeff") for name in next(rows, [])]
            if missing := [name for name in needed if name not in header]:
                raise UserError(f"{path}: no column {', '.join(missing)}; the file has {describe(header)}")
            for row in rows:
                number += 1
                if len(row) != len(header):
                    raise UserError(
                        f"{path}: record {number}, ending at line {rows.line_num}, has {len(row)} fields where the "
                        f"header has {len(header)}; mend its quotes or commas"
                    )
                yield number, dict(zip(header, row, strict=True))
        except csv.Error as error:
            raise UserError(
                f"{path}: after record {number}, near line {rows.line_num}: not CSV ({error}); mend the file, or "
                "download it again if it was cut short"
            ) from error


def describe(header: Sequence[str]) -> str:
    """The columns' names for a message, unless the first record is no header and might be a patient's."""
    if not header:
        return "no header"
    if all(re.fullmatch(r"[A-Za-z][\w.-]{0,29}( [\w.-]{1,20}){0,2}", name) for name in header):
        return ", ".join(header)
    return f"{len(header)} columns whose first record does not look like a header; add one"
