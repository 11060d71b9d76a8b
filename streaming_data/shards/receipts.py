"""Receipts for cached shards: of the ranks on a node one hashes a shard, and the others believe what it found.

A receipt lies next to its shard. It counts for one attempt of one run, so every start of a run still checks the hash of
every shard that it reads, and it counts for one file: after a new download the inode is another.
"""

import os
import stat
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from ...storage.files import stage_file

_ATTEMPT = (
    "MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "SLURM_JOB_ID", "SLURM_RESTART_COUNT", "CMBERT_LAUNCHER_PID",
    "TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT",
)  # fmt: skip
"""Variables that are the same for all ranks of an attempt, on this node."""


class _Receipt(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    attempt: list[str]
    inode: int
    bytes: int
    hash: str


def is_confirmed(shard: Path, content: str) -> bool:
    """Whether another rank of this attempt found that the file has this hash, and it is still the same file."""
    with suppress(OSError, ValueError):  # also of pydantic, and of bytes that are no text
        expected = _describe(shard, content)
        return expected is not None and _read(_path(shard)) == expected
    return False


def confirm(shard: Path, content: str) -> None:
    """Leave a receipt that the file has this hash. Without one, other ranks check the file themselves."""
    with suppress(OSError):
        if receipt := _describe(shard, content):
            with stage_file(_path(shard), durable=False) as staging:
                staging.touch(0o600)
                staging.write_text(receipt.model_dump_json())


def _describe(shard: Path, content: str) -> _Receipt | None:
    """The receipt for the file as it is now; None for a process that is not one of several ranks."""
    if os.environ.get("WORLD_SIZE", "1") == "1" or "MASTER_PORT" not in os.environ:
        return None
    status = shard.stat()
    attempt = [os.environ.get(name, "") for name in _ATTEMPT]
    return _Receipt(attempt=attempt, inode=status.st_ino, bytes=status.st_size, hash=content)


def _read(path: Path) -> _Receipt | None:
    """The receipt in a file that only this user can have written; else None."""
    with open(path, opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK)) as file:
        status = os.fstat(file.fileno())
        writable = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or writable:
            return None
        return _Receipt.model_validate_json(file.read(1 << 16))


def _path(shard: Path) -> Path:
    return shard.with_suffix(".intact")  # no name of a shard, so the cache does not count it
