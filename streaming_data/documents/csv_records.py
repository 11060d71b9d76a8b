"""CSV files, record by record, with errors that name the record."""

import csv
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from ...configs.errors import UserError
from .columns import check_columns
from .files import explain_read_errors, open_text

_MAX_FIELD_SIZE = 1 << 30
_DELIMITERS = ",;\t"


def read_csv(path: Path, required: Sequence[str], encoding: str = "utf-8") -> Iterator[tuple[int, dict[str, str]]]:
    """The records of a CSV file whose header has the `required` columns, numbered from 1; blank records are skipped.

    Fields are separated by commas, or by semicolons or tabs if these yield more of the required columns.
    """
    csv.field_size_limit(_MAX_FIELD_SIZE)
    number = 0
    with (
        open_text(path, encoding) as file,
        explain_read_errors(path, lambda: f"record {number}" if number else "its first bytes", encoding),
    ):
        first_lines: list[str] = []
        for line in file:
            first_lines.append(line)
            if line.strip():
                break
        rows = csv.reader(chain(first_lines, file), delimiter=_delimiter(path, first_lines[-1:], required), strict=True)
        try:
            header = [name.strip().removeprefix("\ufeff") for name in next(filter(_is_filled, rows), [])]
            if not header:
                raise UserError(f"{path}: the file is empty; expected a header with {', '.join(required)}")
            check_columns(path, header, required)
            for row in filter(_is_filled, rows):
                number += 1
                if len(row) != len(header):
                    raise UserError(
                        f"{path}: record {number}, ending at line {rows.line_num}, has {len(row)} fields where the "
                        f"header has {len(header)}; fix its quotes or delimiters"
                    )
                yield number, dict(zip(header, row, strict=True))
        except csv.Error as error:
            raise UserError(
                f"{path}: after record {number}, near line {rows.line_num}: not CSV ({error}); fix the file (a quote "
                'in a field is written twice, "", not after a backslash, as MySQL does), or download it again if it '
                "is truncated"
            ) from error


def _is_filled(row: Sequence[str]) -> bool:
    return any(map(str.strip, row))


def _delimiter(path: Path, header: Sequence[str], required: Sequence[str]) -> str:
    """The delimiter that yields most required columns in `header`, a list of the first line; a comma on a tie."""
    if path.name.lower().removesuffix(".gz").endswith(".tsv"):
        return "\t"

    folded = {name.casefold() for name in required}

    def matches(delimiter: str) -> int:
        return len(
            folded & {name.strip().casefold() for row in csv.reader(header, delimiter=delimiter) for name in row}
        )

    return max(_DELIMITERS, key=matches)
