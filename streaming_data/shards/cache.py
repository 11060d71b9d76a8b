"""LRU disk cache for shards; shards in use are never evicted.

A process that reads a shard holds a shared lock on its file. A process that needs space removes only files that it can
lock exclusively; the kernel releases the locks of a killed process. There is no other state, so ranks and runs share a
directory without coordination, and a kill cannot leave it inconsistent.
"""

import fcntl
import os
import time
from collections import OrderedDict
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import BinaryIO

from filelock import FileLock, Timeout

from ...configs.errors import UserError

_PARTIAL = ".part"


class BoundedCache:
    """One process's view of a directory of shards with a size limit.

    Args:
        directory: shared by all processes that use this cache; shards are one level below.
        limit: in bytes. Processes that download at the same moment may each exceed it by one shard.
        max_held: how many shards this process holds at once; beyond that, those held longest are released.
    """

    def __init__(self, directory: Path, limit: int, max_held: int) -> None:
        self.directory = directory
        self.limit = limit
        self.max_held = max_held
        self._held: OrderedDict[Path, BinaryIO] = OrderedDict()
        self._lock = Lock()

    def hold(self, path: Path) -> None:
        """Prevent other processes from removing a shard.

        Raises:
            FileNotFoundError: the shard was just removed.
        """
        file = path.open("rb")
        fcntl.flock(file, fcntl.LOCK_SH)
        if not path.exists():
            raise FileNotFoundError(path)
        # The last use is the time of access; that of modification tells readers that a file was changed.
        os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))
        with self._lock:
            self._held.pop(path, None)
            self._held[path] = file
            while len(self._held) > self.max_held:
                self._held.popitem(last=False)

    def holds(self, path: Path) -> bool:
        with self._lock:
            return path in self._held

    def release_all_but(self, paths: Collection[Path]) -> None:
        """Allow the removal of every shard that this process holds, except these."""
        with self._lock:
            for path in [held for held in self._held if held not in paths]:
                del self._held[path]

    def make_room(self, size: int, needed_now: bool = True) -> None:
        """Remove least recently used shards until a new one of `size` bytes fits.

        Args:
            needed_now: if all are in use, remove even shards that only this process holds.
        Raises:
            UserError: the shards that remain are all in use.
        """
        with FileLock(self.directory / ".room.lock"):
            if (remaining := self._remove_down_to(self.limit - size)) > self.limit - size:
                if needed_now:
                    with self._lock:
                        self._held.clear()
                    remaining = self._remove_down_to(self.limit - size)
                if remaining > self.limit - size:
                    raise UserError(
                        f"{self.directory}: {remaining:,} bytes of shards are being read by other processes or "
                        f"sources, and {size:,} more are needed, but data.cache_gigabytes allows {self.limit:,}; "
                        "raise it, or lower data.lanes (data.shuffle_window)"
                    )

    def _remove_down_to(self, size: int) -> int:
        """Remove unused files, oldest first, down to `size` bytes if possible; returns the bytes that remain."""
        files = sorted(self._files())
        remaining = sum(size for _, size, _ in files)
        for _, bytes_, path in files:
            if remaining <= size:
                break
            if _remove_unused(path):
                remaining -= bytes_
        return remaining

    def _files(self) -> Iterator[tuple[float, int, Path]]:
        """(last use, bytes, path) of every shard and of every partial download."""
        for path in self.directory.glob("*/*.mds*"):
            if path.suffix != ".lock":
                with suppress(FileNotFoundError):
                    stat = path.stat()
                    yield stat.st_atime, stat.st_size, path


def _remove_unused(path: Path) -> bool:
    """Remove a file unless a process reads it or, for a partial download, writes it. Returns whether it is gone."""
    try:
        if path.suffix == _PARTIAL:
            with FileLock(f"{path.with_suffix('')}.lock", timeout=0):
                path.unlink()
        else:
            with path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
    except (BlockingIOError, Timeout):
        return False
    except FileNotFoundError:
        pass
    return True
