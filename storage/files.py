"""Directories that appear complete or not at all."""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..configs.errors import UserError
from .outputs import require_writable


@contextmanager
def publish_directory(directory: Path) -> Iterator[Path]:
    """Yield an empty directory to fill; on leaving it becomes `directory` in one rename, or vanishes on an error.

    It lies beside its destination, hidden, so that the rename never crosses file systems. Raises UserError when
    `directory` holds something already or cannot be made.
    """
    directory = Path(directory).resolve()
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise UserError(f"{directory} exists already: choose another directory or remove it")
    require_writable(directory)
    staging = directory.with_name(f".{directory.name}.{uuid.uuid4().hex[:8]}.partial")
    staging.mkdir()
    try:
        yield staging
        for path in [*staging.rglob("*"), staging]:
            flush(path)
        staging.rename(directory)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    flush(directory.parent)


def flush(path: Path) -> None:
    """Wait until `path` has reached the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
