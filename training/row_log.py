"""Rows of a run in CSV files that a resume continues."""

import csv
import os
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, get_args


class RowLog:
    """Appends dataclass instances with a `step` to a CSV file, from step `start` on.

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


def read_rows(path: Path, row_type: type) -> list[dict[str, Any]]:
    """The rows with their types; none if there is no file, and without a last line that was cut short."""
    if not path.is_file():
        return []
    types = {field.name: _reader(field.type) for field in fields(row_type)}
    with path.open(newline="") as file:
        lines = csv.reader(file)
        header = next(lines, [])
        # An older run had fewer columns.
        known = [(name, header.index(name), read) for name, read in types.items() if name in header]
        return [{name: read(cells[at]) for name, at, read in known} for cells in lines if len(cells) == len(header)]


def _reader(kind: Any) -> Callable[[str], Any]:
    """Text to a value of this type; an empty cell is None."""
    if kind is str:
        return str
    number = (get_args(kind) or (kind,))[0]
    return lambda text: number(text) if text else None
