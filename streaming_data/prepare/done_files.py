"""Results under their name only when they are whole: written aside, brought to the disk, renamed."""

import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

DONE = ".done"  # the suffix of what says that a task is finished; it is renamed last


@contextmanager
def aside(stem: Path) -> Iterator[Path]:
    """A stem that no other process uses; what is written there and not published is removed, unless it is killed."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    temporary = stem.with_name(f"{stem.name}-{uuid.uuid4().hex}")
    try:
        yield temporary
    finally:
        for left in stem.parent.glob(f"{temporary.name}.*"):
            left.unlink()


def publish(temporary: Path, stem: Path, suffixes: Sequence[str]) -> None:
    """Gives files their names, in this order, once they are on the disk."""
    for suffix in suffixes:
        with temporary.with_suffix(suffix).open("rb") as file:
            os.fsync(file.fileno())
    for suffix in suffixes:
        temporary.with_suffix(suffix).rename(stem.with_suffix(suffix))
