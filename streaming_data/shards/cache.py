"""Room for shards on this machine: the least recently used go first, those that a rank reads never.

A process that reads a shard holds a shared lock on its file. Who needs room removes only files that it can lock for
itself; the kernel gives back the locks of a process that was killed. Nothing else is written down, so ranks and runs
share a directory without knowing of each other, and there is nothing that a kill could leave wrong.
"""

import fcntl
import os
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import BinaryIO

from filelock import FileLock, Timeout

from ...configs.errors import UserError

_PART = ".part"


class BoundedCache:
    """A process's way to a directory of shards that should not grow beyond a limit.

    Args:
        directory: shared by everything that uses this cache; shards lie one level below.
        limit: in bytes. Each process that downloads at the same moment may exceed it by one shard.
        keep: how many shards this process holds at once; of more, those held longest are let go.
    """

    def __init__(self, directory: Path, limit: int, keep: int) -> None:
        self.directory = directory
        self.limit = limit
        self.keep = keep
        self._held: OrderedDict[Path, BinaryIO] = OrderedDict()
        self._lock = Lock()

    def hold(self, path: Path) -> None:
        """Keep others from removing a shard.

        Raises:
            FileNotFoundError: somebody just did.
        """
        file = path.open("rb")
        fcntl.flock(file, fcntl.LOCK_SH)
        if not path.exists():
            raise FileNotFoundError(path)
        os.utime(path)
        with self._lock:
            self._held.pop(path, None)
            self._held[path] = file
            while len(self._held) > self.keep:
                self._held.popitem(last=False)

    def holds(self, path: Path) -> bool:
        with self._lock:
            return path in self._held

    def make_room(self, size: int) -> None:
        """Remove what is needed for a shard of so many bytes.

        Raises:
            UserError: all that is left is being read.
        """
        with FileLock(self.directory / ".room.lock"):
            if self._remove_down_to(self.limit - size) > self.limit - size:
                with self._lock:
                    self._held.clear()
                if (left := self._remove_down_to(self.limit - size)) > self.limit - size:
                    raise UserError(
                        f"{self.directory}: {left:,} bytes of shards are being read by other processes or sources, and "
                        f"{size:,} more are needed, but data.cache_gigabytes allows {self.limit:,}; raise it, or lower "
                        "data.shuffle_window"
                    )

    def _remove_down_to(self, size: int) -> int:
        """The bytes that are there at the end."""
        files = sorted(self._files())
        there = sum(size for _, size, _ in files)
        for _, bytes_, path in files:
            if there <= size:
                break
            if _remove_unused(path):
                there -= bytes_
        return there

    def _files(self) -> Iterator[tuple[float, int, Path]]:
        """(last use, bytes, path) of every shard, and of every part of one."""
        for path in self.directory.glob("*/*.mds*"):
            if path.suffix != ".lock":
                with suppress(FileNotFoundError):
                    stat = path.stat()
                    yield stat.st_mtime, stat.st_size, path


def _remove_unused(path: Path) -> bool:
    """Whether the file could be removed: nobody reads it, or, if it is a part of a shard, downloads it."""
    try:
        if path.suffix == _PART:
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
