"""Processes as they are recorded: host, pid, and what tells this process from a later one with the same pid."""

import os
import signal
import socket
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict


class Process(BaseModel):
    """A process of some machine.

    Attributes:
        host: its machine.
        pid: its number, which the machine gives to another process later.
        born: the boot of the machine, and the clock tick since then at which the process started.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: str
    pid: int
    born: str


def this_process() -> Process | None:
    """Return this process; None where /proc does not describe it."""
    born = _born(os.getpid())
    return Process(host=socket.gethostname(), pid=os.getpid(), born=born) if born else None


def is_alive(process: Process) -> bool | None:
    """Return whether the process still runs; None if it is another machine's."""
    if process.host != socket.gethostname():
        return None
    return _born(process.pid) == process.born


def send(process: Process, number: signal.Signals) -> bool:
    """Send a signal to the process, never to another one with its pid; return whether it still ran here."""
    with suppress(ProcessLookupError):
        descriptor = os.pidfd_open(process.pid)
        try:
            if is_alive(process):  # looked at after it was opened, so the descriptor is that of this process
                signal.pidfd_send_signal(descriptor, number)
                return True
        finally:
            os.close(descriptor)
    return False


def _born(pid: int) -> str | None:
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return None if fields[0] in (b"Z", b"X") else f"{boot} {int(fields[19])}"
    return None
