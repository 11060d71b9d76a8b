"""CSV files, record by record, with errors that name the record."""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

from ...configs.errors import UserError
from .columns import check_columns, match_names, visible_name
from .files import explain_read_errors, has_nul, open_text

_MAX_FIELD_SIZE = 1 << 30
_DELIMITERS = ",;\t"
_SEPARATOR_LINE = re.compile(r'"?sep=([^\r\n"])"?[,;\t]*[\r\n]*', re.IGNORECASE)


def read_csv(path: Path, required: Sequence[str], encoding: str = "utf-8") -> Iterator[tuple[int, dict[str, str]]]:
    """The records of a CSV file whose header has the `required` columns, numbered from 1; blank records are skipped.

    Fields are separated as a first line `sep=;` of Excel says; without one by commas, or by semicolons or tabs if these
    yield more of the required columns.
    """
    csv.field_size_limit(_MAX_FIELD_SIZE)
    number = 0
    with (
        open_text(path, encoding) as file,
        explain_read_errors(path, lambda: f"record {number}" if number else "its first bytes", encoding),
    ):
        lines: list[str] = []
        separator = None
        for line in file:
            if not separator and (separator := separator_of(line)):
                line = "\n"  # blank records are skipped, and the numbers of lines stay those of the file
            lines.append(line)
            if line.strip():
                break
        if lines and "\0" in lines[-1]:
            raise has_nul(path)
        delimiter = separator or _delimiter(path, lines[-1:], required)
        rows = csv.reader(chain(lines, file), delimiter=delimiter, strict=True)
        try:
            header = match_names([name.strip() for name in next(filter(_is_filled, rows), [])], required)
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


def separator_of(line: str) -> str | None:
    """The separator of fields that a line `sep=;` of Excel names; None for any other line."""
    match = _SEPARATOR_LINE.fullmatch(line)
    return match[1] if match else None


def _is_filled(row: Sequence[str]) -> bool:
    return any(map(str.strip, row))


def _delimiter(path: Path, header: Sequence[str], required: Sequence[str]) -> str:
    """The delimiter that yields most required columns in `header`, a list of the first line; a comma on a tie."""
    if path.name.lower().removesuffix(".gz").endswith(".tsv"):
        return "\t"

    def folded(names: Iterable[str]) -> set[str]:
        return {visible_name(name).casefold() for name in names}

    def matches(delimiter: str) -> int:
        return len(folded(required) & folded(chain.from_iterable(csv.reader(header, delimiter=delimiter))))

    return max(_DELIMITERS, key=matches)
