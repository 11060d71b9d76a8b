"""CSV files of a run's metrics that a resumed run continues."""

import csv
import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, get_args

from ...storage.files import stage_file

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

    A missing file has no rows, and an incomplete last line is ignored.
    """
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        lines = csv.reader(file)
        header = next(lines, [])
        complete = [cells for cells in lines if len(cells) == len(header) and select(int(cells[0]))]
    return _typed(header, complete, row_type)


def read_last_rows(path: Path, row_type: type, count: int) -> list[dict[str, Any]]:
    """Return at most `count` rows from the end of the file, like `read_rows`, without reading all of it."""
    if not path.is_file():
        return []
    with path.open("rb") as file:
        header = next(csv.reader([file.readline().decode()]), [])
        begin = file.tell()
        file.seek(max(begin, file.seek(0, os.SEEK_END) - count * _ROW_BYTES))
        if file.tell() > begin:
            file.readline()  # the rest of a row that began before
        lines = file.read().decode().splitlines()
    complete = [cells for cells in csv.reader(lines) if len(cells) == len(header)]
    return _typed(header, complete[-count:], row_type)


def _typed(header: list[str], complete: list[list[str]], row_type: type) -> list[dict[str, Any]]:
    types = {field.name: field.type for field in fields(row_type)}
    # Converted by column, which is several times as fast. Older runs have fewer columns.
    columns = zip(header, zip(*complete, strict=True), strict=False)
    values = {name: _parse(types[name], cells) for name, cells in columns if name in types}
    return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]


def _parse(kind: Any, cells: Iterable[str]) -> list[Any]:
    """The cells of a column as values of its type; an empty cell is None."""
    if kind is str:
        return list(cells)
    number = (get_args(kind) or (kind,))[0]
    return [number(cell) if cell else None for cell in cells]
