"""Rows of a run in CSV files that a resume continues."""

import csv
import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, get_args


class RowLog:
    """Appends dataclass instances, of which `step` is the first field, to a CSV file, from step `start` on.

    Rows of later steps, which a run wrote before it was killed, are dropped: it will write them again.
    """

    def __init__(self, path: Path, row_type: type, start: int) -> None:
        kept = [row for row in read_rows(path, row_type) if row["step"] <= start]
        names = [field.name for field in fields(row_type)]
        aside = path.with_name(f"{path.name}.part")
        with aside.open("w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(kept)
        aside.replace(path)
        self._file = path.open("a", newline="")
        self._writer = csv.DictWriter(self._file, names)

    def write(self, row: Any) -> None:
        self._writer.writerow(asdict(row))
        self._file.flush()

    def close(self) -> None:
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()


def read_rows(path: Path, row_type: type, wanted: Callable[[int], bool] = lambda step: True) -> list[dict[str, Any]]:
    """The rows of the wanted steps with their types; none if there is no file, and no last line that was cut short."""
    if not path.is_file():
        return []
    types = {field.name: field.type for field in fields(row_type)}
    with path.open(newline="") as file:
        lines = csv.reader(file)
        header = next(lines, [])
        whole = [cells for cells in lines if len(cells) == len(header) and wanted(int(cells[0]))]
    # By column, which is several times as fast; an older run had fewer.
    columns = zip(header, zip(*whole, strict=True), strict=False)
    values = {name: _values(types[name], cells) for name, cells in columns if name in types}
    return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]


def _values(kind: Any, cells: Iterable[str]) -> list[Any]:
    """A column's cells with their type; an empty cell is None."""
    if kind is str:
        return list(cells)
    number = (get_args(kind) or (kind,))[0]
    return [number(cell) if cell else None for cell in cells]
