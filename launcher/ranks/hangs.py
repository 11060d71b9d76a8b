"""A rank that does not go on: how its warden notices it, and what it reports before it ends the rank.

Only the time that the warden itself has lived through counts. Where the machine, the job or all its processes were
suspended, everything resumes without a false alarm.
"""

import os
import re
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from ...training.resilience.heartbeat import ASK_FOR_STACKS, Heartbeat

TICK = 1.0
WAITING_SECONDS = 20.0
"""A rank that seems to wait for others is ended so much later: the one that they wait for is ended first, and named."""
_STACK_SECONDS = 5.0
_FRAME = re.compile(r'  File "([^"]+)", line (\d+) in (\S+)')
_PACKAGE = str(Path(__file__).parents[2])
_WAITING = ("torch/distributed/", "site-packages/deepspeed/", "torch/cuda/", f"{_PACKAGE}/training/copies.py")
"""Files whose code, when it is the innermost, waits for a collective or for the device."""
_STATES = {
    "T": "the process is stopped, by a signal such as SIGSTOP",
    "t": "the process is stopped by a debugger",
    "D": "the process is in the kernel, which waits for a disk, a network file system or a driver",
}


class Silence:
    """Measures for how long a rank has been where it is.

    Attributes:
        seconds: since its last beat, as far as this process was awake.
    """

    def __init__(self, heartbeat: Heartbeat) -> None:
        self._heartbeat = heartbeat
        self._looked = time.monotonic()
        self.beat = heartbeat.last()
        self.seconds, self._allowed = 0.0, self.beat.seconds

    def too_long(self, pid: int) -> str | None:
        """Called at every tick; returns why the rank is to be ended, or None. It looks at the process if need be."""
        now, beat = time.monotonic(), self._heartbeat.last()
        self.seconds += min(now - self._looked, 2 * TICK)
        self._looked = now
        if beat != self.beat:
            self.beat, self.seconds, self._allowed = beat, 0.0, beat.seconds
        if not beat.seconds or self.seconds <= self._allowed:
            return None
        begin = self._heartbeat.stacks_size()
        doing, waits = what_it_does(pid, self._heartbeat)
        if self._heartbeat.last() != beat:
            return None
        if waits and self._allowed == beat.seconds:
            self._allowed += WAITING_SECONDS
            return None
        return f"{doing}\n{self._heartbeat.stacks(begin)}".rstrip()


def what_it_does(pid: int, heartbeat: Heartbeat) -> tuple[str, bool]:
    """Describe a process that hangs; the second value is whether it waits for other ranks."""
    state = _state(pid)
    if state in "Tt":
        return _STATES[state], False
    begin = heartbeat.stacks_size()
    with suppress(ProcessLookupError):
        os.kill(pid, ASK_FOR_STACKS)
    frames = _main_thread(_written(heartbeat, begin))
    if not frames:
        return _STATES.get(state, "it does not answer"), False
    where = [f"{file.removeprefix(_PACKAGE + '/')}:{line} in {function}" for file, line, function in frames]
    own = next((name for name, (file, _, _) in zip(where, frames, strict=True) if file.startswith(_PACKAGE)), where[0])
    at = where[0] if own == where[0] else f"{where[0]}, called by {own}"
    if any(part in frames[0][0] for part in _WAITING):
        return f"it waits for other ranks or its device, at {at}", True
    return f"it does not return from {at}" + (f"; {_STATES['D']}" if state == "D" else ""), False


def report(environment: Mapping[str, str], silence: Silence, reason: str) -> None:
    """Write the place of the rank to stderr, with the stacks, and to the file of exit codes (`launcher/train.py`)."""
    rank = environment.get("RANK") or environment.get("SLURM_PROCID", "0")
    name = f"rank {rank} on {socket.gethostname()}"
    doing, _, stacks = reason.partition("\n")
    lines = [
        f"error: {name} hangs: no progress for {silence.seconds:.0f} s in {silence.beat.place}: {doing}; ending it"
    ]
    if stacks:
        lines += [f"stacks of {name}, the innermost call first:", stacks]
    if path := environment.get("CMBERT_EXIT_FILE"):
        with suppress(OSError), open(path, "x", encoding="utf-8") as file:
            file.write(f"1 {name} hung in {silence.beat.place}\n")
    with suppress(OSError):
        os.write(2, ("\n".join(lines) + "\n").encode())


def _written(heartbeat: Heartbeat, begin: int) -> str:
    """The stacks, when the rank has written all of them: nothing more comes."""
    deadline, size = time.monotonic() + _STACK_SECONDS, begin
    while time.monotonic() < deadline:
        time.sleep(0.3)
        before, size = size, heartbeat.stacks_size()
        if begin < before == size:
            break
    return heartbeat.stacks(begin)


def _main_thread(stacks: str) -> list[tuple[str, str, str]]:
    """(file, line, function) of each call of the main thread, the innermost first: it is the last one listed."""
    return _FRAME.findall(stacks[stacks.rfind("hread 0x") :])


def _state(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return "?"
