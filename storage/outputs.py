"""Files and directories that cannot be read or written: told as mistakes that a user can mend, and found early."""

import errno
import tempfile
from pathlib import Path

from ..configs.errors import UserError

_REMEDIES = {
    errno.EACCES: "choose another place, or have its permissions changed",
    errno.EPERM: "choose another place, or have its permissions changed",
    errno.EROFS: "choose another place",
    errno.ENOENT: "check how it is spelled, or choose another place",
    errno.ENOTDIR: "a file is where a directory belongs; choose another path",
    errno.EEXIST: "a file is where a directory belongs; choose another path",
    errno.EISDIR: "a directory is there; name a file in it",
    errno.ENOSPC: "make room there, or choose another disk",
    errno.EDQUOT: "make room there, or choose another disk",
}


def as_user_error(error: OSError) -> UserError | None:
    """What to tell a user of an error of the file system, or None if it names no file or is not theirs to mend.

    Of a rename it is the new name, which is the one that was asked for.
    """
    name = error.filename2 or error.filename
    if not isinstance(name, str | bytes | Path) or error.errno not in _REMEDIES:
        return None
    shown = name.decode(errors="replace") if isinstance(name, bytes) else name
    return UserError(f"{shown}: {_reason(error)}")


def require_writable(path: Path) -> None:
    """Make the directory that `path` is to lie in, and prove that it can be written to, before hours of work are lost.

    Raises:
        UserError: it cannot.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise UserError(f"{path}: cannot be written there: {_reason(error)}") from error


def _reason(error: OSError) -> str:
    remedy = _REMEDIES.get(error.errno or 0, "choose another place")
    return f"{error.strerror}: {remedy}"
