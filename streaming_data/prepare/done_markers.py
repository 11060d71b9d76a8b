"""Done markers: a task's other results are complete once `<stem>.done` exists, because it is written last.

A marker is an NPZ archive of arrays; nothing is unpickled. One that this version did not write, such as the pickle of
an earlier version, counts as absent, and its task runs again.
"""

import io
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ...storage.files import atomic_write

DONE = ".done"

logger = logging.getLogger(__name__)


def read_result(stem: Path) -> dict[str, npt.NDArray[Any]] | None:
    """The arrays in a task's done marker, by name; None if the task is not done or its marker cannot be read."""
    marker = stem.with_suffix(DONE)
    if not marker.is_file():
        return None
    try:
        with np.load(io.BytesIO(marker.read_bytes()), allow_pickle=False) as arrays:
            return dict(arrays)
    except Exception as error:  # damaged archives and headers raise errors of many kinds
        ignore(stem, error)
        return None


def ignore(stem: Path, error: Exception) -> None:
    """Log that a task runs again because its done marker has other content than this version writes."""
    reason = type(error).__name__
    logger.warning(f"{stem.with_suffix(DONE)}: not written by this version ({reason}); its file is tokenized again")


def mark_done(stem: Path, result: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write the done marker of a task whose other results are on the disk."""
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **result)
    atomic_write(stem.with_suffix(DONE), content.getvalue())


def any_done(directory: Path) -> bool:
    """Whether any task below `directory` is done."""
    return any(directory.rglob(f"*{DONE}"))
