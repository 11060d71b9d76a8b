"""CSV files, record by record, with errors that name the record."""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import NamedTuple, TextIO

from ...configs.errors import UserError
from ...configs.limits import DOCUMENT_CHARACTERS, HEADER_CHARACTERS, RECORD_CHARACTERS, TooLargeError
from .bounded import bounded_lines, document_too_long
from .columns import check_columns, match_names, visible_name
from .files import explain_read_errors, has_nul, open_text
from .spans import Span

_DELIMITERS = ",;\t"
_SEPARATOR_LINE = re.compile(r'"?sep=([^\r\n"])"?[,;\t]*[\r\n]*', re.IGNORECASE)


class CsvForm(NamedTuple):
    """How a CSV file is written.

    Attributes:
        lines: the lines until the first that is not blank, which has the names of columns.
        separator_line: whether a line `sep=;` of Excel precedes them.
    """

    lines: list[str]
    delimiter: str
    separator_line: bool


def read_csv(
    path: Path, required: Sequence[str], encoding: str = "utf-8", span: Span | None = None
) -> Iterator[tuple[int, dict[str, str]]]:
    """The records of a CSV file whose header has the `required` columns, numbered from 1; blank records are skipped.

    Fields are separated as a first line `sep=;` of Excel says; without one by commas, or by semicolons or tabs if these
    yield more of the required columns. Of a `span`, only its records; the header is always that of the file.
    """
    csv.field_size_limit(RECORD_CHARACTERS)
    number = 0
    with (
        ExitStack() as stack,
        explain_read_errors(path, lambda: f"record {number}" if number else "its first bytes", encoding),
    ):
        file = stack.enter_context(open_text(path, encoding, span and span._replace(start=0)))
        form = csv_form(path, file, required)
        rest = _Records(path, file)
        rows = csv.reader(chain(form.lines, rest), delimiter=form.delimiter, strict=True)
        try:
            header = match_names([name.strip() for name in next(filter(is_filled, rows), [])], required)
            if not header:
                raise UserError(f"{path}: the file is empty; expected a header with {', '.join(required)}")
            check_columns(path, header, required)
            if span and span.start:
                number = span.first
                rest = _Records(path, stack.enter_context(open_text(path, encoding, span)))
                rows = csv.reader(rest, delimiter=form.delimiter, strict=True)
            for row in filter(is_filled, rows):
                number += 1
                rest.next_record()
                if len(row) != len(header):
                    raise UserError(
                        f"{path}: record {number}, ending at line {rows.line_num}, has {len(row)} fields where the "
                        f"header has {len(header)}; fix its quotes or delimiters"
                    )
                if (longest := max(map(len, row), default=0)) > DOCUMENT_CHARACTERS:
                    raise document_too_long(path, f"record {number}", longest)
                yield number, dict(zip(header, row, strict=True))
        except csv.Error as error:
            raise UserError(
                f"{path}: after record {number}, near line {rows.line_num}: not CSV ({error}); fix the file (a quote "
                'in a field is written twice, "", not after a backslash, as MySQL does), or download it again if it '
                "is truncated"
            ) from error


def csv_form(path: Path, file: TextIO, required: Sequence[str]) -> CsvForm:
    """How the file is written, by its first lines, which are read."""
    lines: list[str] = []
    separator = None
    for line in bounded_lines(path, file, HEADER_CHARACTERS):
        if not separator and (separator := separator_of(line)):
            line = "\n"  # blank records are skipped, and the numbers of lines stay those of the file
        lines.append(line)
        if line.strip():
            break
    if lines and "\0" in lines[-1]:
        raise has_nul(path)
    return CsvForm(lines, separator or _delimiter(path, lines[-1:], required), separator is not None)


class _Records:
    """The lines of a file, of which one record may have so many characters in all."""

    def __init__(self, path: Path, file: TextIO) -> None:
        self._path = path
        self._lines = bounded_lines(path, file, RECORD_CHARACTERS)
        self._records = 0
        self._characters = 0

    def next_record(self) -> None:
        self._records += 1
        self._characters = 0

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            self._characters += len(line)
            if self._characters > RECORD_CHARACTERS:
                raise TooLargeError(
                    f"{self._path}: after record {self._records}: the next one has more than {RECORD_CHARACTERS:,} "
                    "characters; a quote that is not closed makes one field of the rest of a file"
                )
            yield line


def separator_of(line: str) -> str | None:
    """The separator of fields that a line `sep=;` of Excel names; None for any other line."""
    match = _SEPARATOR_LINE.fullmatch(line)
    return match[1] if match else None


def is_filled(row: Sequence[str]) -> bool:
    """Whether a record has more than whitespace."""
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
