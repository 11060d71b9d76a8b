"""Receipts for cached shards: of the ranks on a node one hashes a shard, and the others believe what it found.

A receipt lies next to its shard. It counts for one attempt of one run, so every start of a run still checks the hash of
every shard that it reads, and it counts for one file as it was: after a new download the inode is another, after a
change the time of modification. Directory, shard and receipt must be this user's, and nobody else's to write to.
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
    device: int
    inode: int
    modified: int
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
    """The receipt for the file as it is now; None for a process that is not one of several ranks, and for a file that
    somebody else could have put there."""
    if os.environ.get("WORLD_SIZE", "1") == "1" or "MASTER_PORT" not in os.environ:
        return None
    directory, status = shard.parent.stat(), shard.lstat()
    if not (_is_own(directory) and _is_own(status) and stat.S_ISREG(status.st_mode)):
        return None
    return _Receipt(
        attempt=[os.environ.get(name, "") for name in _ATTEMPT],
        device=status.st_dev,
        inode=status.st_ino,
        modified=status.st_mtime_ns,
        bytes=status.st_size,
        hash=content,
    )


def _read(path: Path) -> _Receipt | None:
    """The receipt in a file that only this user can have written; else None."""
    with open(path, opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK)) as file:
        status = os.fstat(file.fileno())
        if not (_is_own(status) and stat.S_ISREG(status.st_mode)):
            return None
        return _Receipt.model_validate_json(file.read(1 << 16))


def _is_own(status: os.stat_result) -> bool:
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _path(shard: Path) -> Path:
    return shard.with_suffix(".intact")  # no name of a shard, so the cache does not count it
