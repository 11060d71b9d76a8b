"""Local files and directories that appear complete or not at all, and file-system errors a user can fix."""

import errno
import hashlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import xxhash

from ..configs.errors import UserError

_BLOCK = 1 << 22
_REMEDIES = {
    errno.EACCES: "choose another location, or change its permissions",
    errno.EPERM: "choose another location, or change its permissions",
    errno.EROFS: "choose another location",
    errno.ENOENT: "check the spelling, or choose another location",
    errno.ENOTDIR: "a file exists where a directory is needed; choose another path",
    errno.EEXIST: "a file exists where a directory is needed; choose another path",
    errno.EISDIR: "a directory exists there; name a file in it",
    errno.ENOSPC: "free space there, or choose another disk",
    errno.EDQUOT: "free space there, or choose another disk",
}


@contextmanager
def stage_file(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path next to `path` to write to; on exit it replaces `path` in one rename.

    On an error the temporary file is removed and `path` stays as it was.

    Args:
        durable: wait until the content has reached the disk before the rename.
    """
    path = Path(path)
    staging = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
    try:
        yield staging
        if durable:
            fsync(staging)
        staging.replace(path)
    except BaseException:
        staging.unlink(missing_ok=True)
        raise
    if durable:
        fsync(path.parent)


def atomic_write(path: Path, content: str | bytes) -> None:
    """Replace the content of `path` in one step; readers see the old content or the new, never a part."""
    with stage_file(path) as staging:
        staging.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)


@contextmanager
def stage_directory(directory: Path) -> Iterator[Path]:
    """Yield an empty directory to fill; on exit it becomes `directory` in one rename, on an error it is removed.

    It is a hidden sibling of its destination, so the rename never crosses file systems.

    Raises:
        UserError: `directory` already holds something, or cannot be created.
    """
    directory = Path(directory).resolve()
    if is_taken(directory):
        raise UserError(f"{directory} exists already: choose another directory or remove it")
    require_writable(directory)
    staging = directory.with_name(f".{directory.name}.{uuid.uuid4().hex[:8]}.partial")
    staging.mkdir()
    try:
        yield staging
        for path in [*staging.rglob("*"), staging]:
            fsync(path)
        staging.rename(directory)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    fsync(directory.parent)


def fsync(path: Path) -> None:
    """Wait until the content of a file, or the entries of a directory, have reached the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def hash_file(
    path: Path,
    algorithm: str = "xxh3_128",
    count: Callable[[int], None] = lambda size: None,
    part: tuple[int, int] = (0, 1),
) -> str:
    """The hexadecimal digest of a file's content: `xxh3_128`, `xxh3_64`, or any algorithm of hashlib.

    Args:
        count: called with the size of each block that was read.
        part: (number, of how many): of this one of so many equal parts of the file.
    """
    fast = {"xxh3_128": xxhash.xxh3_128, "xxh3_64": xxhash.xxh3_64}.get(algorithm)
    digest = fast() if fast else hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as stream:
        span = part_span(os.fstat(stream.fileno()).st_size, *part)
        stream.seek(span.start)
        left = len(span)
        while block := stream.read(min(_BLOCK, left)):
            digest.update(block)
            count(len(block))
            left -= len(block)
    return digest.hexdigest()


def part_span(size: int, number: int, parts: int) -> range:
    """The positions of part `number` of `size` bytes in so many equal parts."""
    return range(size * number // parts, size * (number + 1) // parts)


def require_writable(path: Path) -> None:
    """Create the parent directory of `path` and prove that it is writable, before any long work starts.

    Raises:
        UserError: it is not.
    """
    with as_not_writable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        prove_writable(path.parent)


def prove_writable(directory: Path) -> None:
    """Write a file that never gets a name. Raises OSError if that is impossible."""
    with tempfile.TemporaryFile(dir=directory):
        pass


@contextmanager
def as_not_writable(path: Path) -> Iterator[None]:
    """Inside, an OSError becomes the UserError that `path` cannot be written, and why."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {_reason(error)}") from error


def is_taken(path: Path) -> bool:
    """Whether a file, or a directory that is not empty, is at `path`."""
    return path.exists() and (not path.is_dir() or any(path.iterdir()))


def as_user_error(error: OSError) -> UserError | None:
    """The error to show for a failed file operation; None if it names no file or the user cannot fix it.

    For a rename it names the destination, which is the path the user asked for.
    """
    name = error.filename2 or error.filename
    if not isinstance(name, str | bytes | Path) or error.errno not in _REMEDIES:
        return None
    shown = name.decode(errors="replace") if isinstance(name, bytes) else name
    return UserError(f"{shown}: {_reason(error)}")


def _reason(error: OSError) -> str:
    """Why a file operation failed, and what to do about it."""
    remedy = _REMEDIES.get(error.errno or 0, "choose another location")
    return f"{error.strerror}: {remedy}"
