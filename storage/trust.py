"""Whose files are believed: those of directories that nobody else can write to."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from ..configs.errors import UserError

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def require_own(directory: Path) -> None:
    """Check a directory that files are about to be read from or staged in; nothing is checked if it is absent.

    Raises:
        UserError: it belongs to another user (other than root), or another user could put files there.
    """
    require_owner(directory)
    mode = directory.stat().st_mode if directory.exists() else 0
    if mode & _OTHERS_WRITE and not mode & stat.S_ISVTX:
        raise UserError(
            f"{directory}: other users can write there (mode {stat.S_IMODE(mode):04o}), so its content cannot be "
            f"trusted: `chmod go-w {directory}` if you know what is in it, else remove it"
        )


def require_owner(directory: Path) -> None:
    """Check only that a directory is this user's or root's, for places that the user may share with a group.

    Raises:
        UserError: it is not.
    """
    if not directory.exists():
        return
    for entry in (directory.lstat(), directory.stat()):
        if entry.st_uid not in (os.geteuid(), 0):
            raise UserError(
                f"{directory}: belongs to user {entry.st_uid}, not to you, so its content cannot be trusted: "
                "remove it, or choose another location"
            )


def require_own_tree(directory: Path) -> None:
    """The same for a directory and everything in it.

    Raises:
        UserError: an entry belongs to another user, or another user can write there.
    """
    require_own(directory)
    for path in _entries(directory):
        require_own(path)


def _entries(directory: Path) -> Iterator[Path]:
    for parent, directories, files in os.walk(directory):
        yield from (Path(parent, name) for name in (*directories, *files))
