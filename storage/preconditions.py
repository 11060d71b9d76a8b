"""Checks of a disk before the work. They create nothing, so a refused command leaves nothing behind."""

import shutil
from pathlib import Path

from ..configs.errors import UserError
from .files import as_not_writable, is_taken, prove_writable


def check_new(path: Path, advice: str = "choose another directory or remove it") -> None:
    """Check that nothing exists at `path`, and that it could be written.

    Raises:
        UserError: something exists there, or it cannot be written.
    """
    if is_taken(path):
        raise UserError(f"{path}: exists already; {advice}")
    check_writable(path)


def check_writable(path: Path) -> None:
    """Check that `path` could be written, by a file that never gets a name in its nearest existing directory.

    Raises:
        UserError: it could not.
    """
    with as_not_writable(path):
        prove_writable(_existing_parent(path))


def check_free(path: Path, needed: int, what: str) -> None:
    """Check that the disk of `path` has room for `needed` bytes.

    Args:
        what: is written there, for the error message.
    Raises:
        UserError: it has less.
    """
    directory = _existing_parent(path)
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise UserError(
            f"{path}: {what} needs {_size(needed)}, and {_size(free)} are free on the disk of {directory}: free some, "
            "or choose another disk"
        )


def _existing_parent(path: Path) -> Path:
    """The nearest existing path above `path`: a directory, unless a file is where a directory is needed."""
    parents = Path(path).absolute().parents
    return next(parent for parent in parents if parent.exists())


def _size(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e8 else f"{count / 1e6:,.1f} MB"
