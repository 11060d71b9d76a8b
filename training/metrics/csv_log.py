"""CSV files of a run's metrics that a resumed run continues."""

import csv
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, BinaryIO, get_args

from ...configs.errors import UserError
from ...configs.names import shorten
from ...storage.files import stage_file

_REQUIRED = {"step", "source", "loss"}
"""Columns that every version has written, in each row. Others are None in rows of older runs."""
_ROW_BYTES = 1024
"""More than a row has; one of metrics.csv has about 200."""


class RowLog:
    """Appends dataclass instances, whose first field is `step`, to a CSV file, from step `start` on.

    Rows of later steps, written before the run was killed, are dropped: the resumed run writes them again.
    """

    def __init__(self, path: Path, row_type: type, start: int) -> None:
        kept = [row for row in read_rows(path, row_type) if row["step"] <= start]
        names = [field.name for field in fields(row_type)]
        with stage_file(path) as staging, staging.open("w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(kept)
        self._file = path.open("a", newline="")
        self._writer = csv.DictWriter(self._file, names)

    def write(self, row: Any) -> None:
        self._writer.writerow(asdict(row))
        self._file.flush()

    def close(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()


def read_rows(path: Path, row_type: type, select: Callable[[int], bool] = lambda step: True) -> list[dict[str, Any]]:
    """Return the rows whose step `select` accepts, with typed values.

    A missing file has no rows. A last line without its newline is ignored: its writer was killed.

    Raises:
        UserError: the file cannot be read, or is not as a run wrote it.
    """
    if not path.is_file():
        return []
    with _opened(path) as file:
        lines = csv.reader(_whole_lines(file))
        header = _header(path, next(lines, None), row_type)
        complete = [
            cells for cells in lines if select(_step(cells, len(header), f"{path}: line {lines.line_num}", path))
        ]
        return _typed(path, header, complete, row_type)


def read_last_rows(path: Path, row_type: type, count: int) -> list[dict[str, Any]]:
    """Return at most `count` rows from the end of the file, like `read_rows`, without reading all of it."""
    if not path.is_file():
        return []
    with _opened(path) as file:
        header = _header(path, next(csv.reader(_whole_lines(file)), None), row_type)
        begin = file.tell()
        file.seek(max(begin, file.seek(0, os.SEEK_END) - count * _ROW_BYTES))
        if file.tell() > begin:
            file.readline()  # the rest of a row that began before
        last = list(csv.reader(_whole_lines(file)))[-count:]
        for number, cells in enumerate(reversed(last), 1):
            _step(cells, len(header), f"{path}: line {number} from the end", path)
        return _typed(path, header, last, row_type)


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open the file; what reading it raises becomes a UserError."""
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}): change its permissions") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise _changed(path, f"{path}: not a CSV file in UTF-8 ({error})") from error


def _whole_lines(file: BinaryIO) -> Iterator[str]:
    """The lines of the file from its position on, without a last one that does not end."""
    while (line := file.readline()).endswith(b"\n"):
        yield line.decode("utf-8")


def _header(path: Path, header: list[str] | None, row_type: type) -> list[str]:
    """The columns that the file has. Those of older runs are fewer, those of newer ones more."""
    if header is None:
        return []
    known = [field.name for field in fields(row_type)]
    if header[:1] != ["step"] or len(set(header)) < len(header):
        seen = shorten(",".join(header))
        raise _changed(
            path, f"{path}: line 1: {seen}, expected columns that are separated by commas: {', '.join(known)}"
        )
    if missing := [name for name in known if name in _REQUIRED and name not in header]:
        raise _changed(path, f"{path}: line 1: no column {', '.join(missing)}")
    return header


def _step(cells: list[str], columns: int, where: str, path: Path) -> int:
    """The step of a row that has a cell for each column."""
    if len(cells) != columns:
        raise _changed(path, f"{where}: {len(cells)} cells, expected {columns}")
    if not (cells[0].isascii() and cells[0].isdigit() and len(cells[0]) < 19):
        raise _changed(path, f"{where}: the step is {shorten(cells[0])}, expected a number")
    return int(cells[0])


def _typed(path: Path, header: list[str], complete: list[list[str]], row_type: type) -> list[dict[str, Any]]:
    types = {field.name: field.type for field in fields(row_type)}
    # Converted by column, which is several times as fast.
    columns = zip(header, zip(*complete, strict=True), strict=False)
    values = {name: _parse(path, name, types[name], cells) for name, cells in columns if name in types}
    absent = dict.fromkeys(types)
    return [absent | dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]


def _parse(path: Path, name: str, kind: Any, cells: Iterable[str]) -> list[Any]:
    """The cells of a column as values of its type; an empty cell is None."""
    if name in _REQUIRED and not all(cells):
        raise _changed(path, f"{path}: column {name} has an empty cell")
    if kind is str:
        return list(cells)
    number = (get_args(kind) or (kind,))[0]
    try:
        return [number(cell) if cell else None for cell in cells]
    except ValueError as error:
        raise _changed(path, f"{path}: column {name}: {error}") from error


def _changed(path: Path, problem: str) -> UserError:
    return UserError(
        f"{problem}. The file was changed after the run wrote it: restore it, or move it out of {path.parent}"
    )
