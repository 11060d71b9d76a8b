"""Find processes by a mark in their environment, which child processes inherit."""

import os
import signal
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MARK = "CMBERT_TEST_MARK"


def marked(mark: str) -> set[int]:
    """Return the ids of all living processes with the mark."""
    return {int(process.name) for process in Path("/proc").glob("[0-9]*") if _has(process, mark)}


@contextmanager
def new_mark() -> Iterator[str]:
    """A mark of its own; what has it in the end is killed."""
    mark = uuid.uuid4().hex
    yield mark
    for pid in marked(mark):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def await_end(mark: str, patience: float) -> None:
    """Wait until no process with the mark is alive."""
    deadline = time.monotonic() + patience
    while marked(mark):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def _has(process: Path, mark: str) -> bool:
    try:
        ended = (process / "stat").read_text().rpartition(")")[2].split()[0] in "ZX"
        return not ended and f"{MARK}={mark}".encode() in (process / "environ").read_bytes().split(b"\0")
    except OSError:  # the process ended in the meantime
        return False
