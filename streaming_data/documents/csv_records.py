"""CSV files, record by record, with errors that say which record."""

import csv
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

from ...configs.errors import UserError
from .columns import check_columns
from .files import open_text, reading

_LONGEST_FIELD = 1 << 30
_DELIMITERS = ",;\t"


def read_csv(path: Path, needed: Sequence[str], encoding: str = "utf-8") -> Iterator[tuple[int, dict[str, str]]]:
    """The records of a CSV file with a header that has the columns `needed`, numbered from 1; blank ones are skipped.

    The fields are separated by commas, or else by the semicolons or tabs that make the needed columns appear.
    """
    csv.field_size_limit(_LONGEST_FIELD)
    number = 0
    with (
        open_text(path, encoding) as file,
        reading(path, lambda: f"record {number}" if number else "its first bytes", encoding),
    ):
        above: list[str] = []
        for line in file:
            above.append(line)
            if line.strip():
                break
        rows = csv.reader(chain(above, file), delimiter=_delimiter(path, above[-1:], needed), strict=True)
        try:
            header = [name.strip().removeprefix("\ufeff") for name in next(filter(_is_filled, rows), [])]
            if not header:
                raise UserError(f"{path}: the file is empty; expected a header with {', '.join(needed)}")
            check_columns(path, header, needed)
            for row in filter(_is_filled, rows):
                number += 1
                if len(row) != len(header):
                    raise UserError(
                        f"{path}: record {number}, ending at line {rows.line_num}, has {len(row)} fields where the "
                        f"header has {len(header)}; mend its quotes or delimiters"
                    )
                yield number, dict(zip(header, row, strict=True))
        except csv.Error as error:
            raise UserError(
                f"{path}: after record {number}, near line {rows.line_num}: not CSV ({error}); mend the file (a quote "
                'in a field is written twice, "", not after a backslash, as MySQL does), or download it again if it '
                "was cut short"
            ) from error


def _is_filled(row: Sequence[str]) -> bool:
    return any(map(str.strip, row))


def _delimiter(path: Path, header: Sequence[str], needed: Sequence[str]) -> str:
    """The one that finds most of the needed columns in the header, a list of its first line; a comma if in doubt."""
    if path.name.lower().removesuffix(".gz").endswith(".tsv"):
        return "\t"

    wanted = {name.casefold() for name in needed}

    def found(delimiter: str) -> int:
        return len(
            wanted & {name.strip().casefold() for row in csv.reader(header, delimiter=delimiter) for name in row}
        )

    return max(_DELIMITERS, key=found)
