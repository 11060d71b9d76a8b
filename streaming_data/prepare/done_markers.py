"""Done markers: a task's other results are complete once `<stem>.done` exists, because it is written last."""

import pickle
from pathlib import Path
from typing import Any

from ...storage.files import atomic_write

DONE = ".done"


def read_result(stem: Path) -> Any | None:
    """The content of a task's done marker; None if the task is not done."""
    marker = stem.with_suffix(DONE)
    return pickle.loads(marker.read_bytes()) if marker.is_file() else None


def mark_done(stem: Path, result: Any) -> None:
    """Write the done marker of a task whose other results are on the disk."""
    atomic_write(stem.with_suffix(DONE), pickle.dumps(result))


def any_done(directory: Path) -> bool:
    """Whether any task below `directory` is done."""
    return any(directory.rglob(f"*{DONE}"))
