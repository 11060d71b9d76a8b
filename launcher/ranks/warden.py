"""A small process that ends its rank when a launcher above the rank is gone, or when the rank hangs.

A rank whose launcher was killed would train on, unseen, or wait for lost peers forever. Its warden is forked before
torch is imported and waits for the first of these processes to end: the rank itself, its parent, and every launcher
above. If it was not the rank, the rank receives SIGTERM, which saves a checkpoint, and SIGKILL after the grace period.
A process can do that, and a thread cannot: it does not need the rank's GIL. So it also ends a rank that does not go on
(`hangs.py`).

PR_SET_PDEATHSIG (prctl(2)) alone would not do: the kernel sends that signal for the parent only, and `deepspeed` starts
its ranks through a second process that survives the first.
"""

import ctypes
import os
import re
import select
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from ...training.resilience.heartbeat import Heartbeat
from .hangs import TICK, Silence, report
from .mpi import is_rank_of_mpi

LAUNCHER_PID = "CMBERT_LAUNCHER_PID"
GRACE = "CMBERT_GRACE_SECONDS"
"""Seconds that a rank has for its checkpoint after its launcher is gone."""
GRACE_SECONDS = 300.0
NAME = b"cmbert-warden"
"""Shown by ps -e and top; at most 15 bytes."""
LAUNCHERS = {
    *("cmbert", "clinical_modernbert.launcher", "deepspeed", "ds", "deepspeed.launcher.launch"),
    *("deepspeed.launcher.runner", "torchrun", "torch.distributed.run", "torch.distributed.launch", "accelerate"),
    *("srun", "mpirun", "mpiexec", "mpiexec.hydra", "orterun", "prterun", "orted", "prted", "hydra_pmi_proxy"),
}
_WRAPPERS = {*("numactl", "env", "nice", "timeout", "taskset", "nsys", "ncu", "strace", "time", "stdbuf", "catchsegv")}
_SSH_CONNECTION = re.compile(r"sshd(-session)?: \S+@notty")
"""As sshd calls its process of a connection without a terminal, such as pdsh's. It ends with the connection."""
_IGNORED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def start_warden() -> Heartbeat:
    """Start the warden of this rank. A rank's entry point calls it before it imports torch or starts threads.

    There is none outside Linux, or without a launcher (no RANK, and no task of srun or mpirun): a process that was
    started by hand may outlive its shell.

    Returns:
        Where the rank writes how far it is.
    """
    heartbeat = Heartbeat()
    launched = "RANK" in os.environ or "SLURM_STEP_NUM_TASKS" in os.environ or is_rank_of_mpi(os.environ)
    if _LIBC is None or not launched:
        return heartbeat
    pid = os.getpid()
    try:
        rank, launchers = os.pidfd_open(pid), _find_launchers(os.environ)
        child = os.fork()
    except OSError:  # a kernel before 5.3, a sandbox without pidfds, or no process left: better than nothing
        send_at_death_of_parent(signal.SIGTERM)
        return heartbeat
    if not child:
        _watch(rank, pid, launchers, float(os.environ.get(GRACE, GRACE_SECONDS)), heartbeat)
    for descriptor in (rank, *(launchers or ())):
        os.close(descriptor)
    heartbeat.be_watched()
    return heartbeat


def send_at_death_of_parent(number: int) -> None:
    """Have the kernel send a signal to this process when its parent dies. It needs Linux and does nothing elsewhere."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, number)


def _watch(rank: int, pid: int, launchers: Sequence[int] | None, grace: float, heartbeat: Heartbeat) -> NoReturn:
    """Wait until the rank hangs, or the end of the rank or of a launcher (None: one is gone already); end the rank."""
    try:
        for number in _IGNORED:
            signal.signal(number, signal.SIG_IGN)
        os.setsid()
        assert _LIBC is not None
        _LIBC.prctl(_PR_SET_NAME, NAME)
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1):
            os.dup2(null, stream)  # otherwise readers of the rank's output would wait for the warden too
        ended: list[int] = []
        silence = Silence(heartbeat)
        while launchers is not None and not ended:
            ended = _ended(rank, *launchers, seconds=TICK)
            if not ended and (reason := silence.too_long(pid)):
                report(os.environ, silence, reason)
                signal.pidfd_send_signal(rank, signal.SIGKILL)
                ended = [rank]
        if rank not in ended:
            os.dup2(null, 2)
            signal.pidfd_send_signal(rank, signal.SIGTERM)
            if not _ended(rank, seconds=grace):
                signal.pidfd_send_signal(rank, signal.SIGKILL)
    finally:
        os._exit(0)


def _ended(*processes: int, seconds: float | None = None) -> list[int]:
    """Return which of these processes have ended, as soon as one has; none after `seconds`."""
    poll = select.poll()
    for process in processes:
        poll.register(process, select.POLLIN)
    return [process for process, _ in poll.poll(None if seconds is None else 1000 * seconds)]


def _find_launchers(environment: Mapping[str, str]) -> list[int] | None:
    """Return pidfds of this process's parent and of the launchers above it, with the wrappers between them.

    None: the launcher that the environment names is none of them, or a process ended while it was looked at.
    """
    named = int(environment.get(LAUNCHER_PID, "0"))
    found: list[int] = []
    wrappers: list[int] = []
    pid, pids = os.getppid(), []
    with suppress(ProcessLookupError, FileNotFoundError):
        while pid > 1:
            # The descriptor first: the number may be another process's by the time that it is looked at.
            descriptor = os.pidfd_open(pid)
            parent, kind = _parent(pid), _kind(pid)
            if kind == "connection" and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
                kind = ""  # under `nohup` ranks outlive it
            pids.append(pid)
            wrappers.append(descriptor)
            if kind in ("launcher", "connection") or pid == named or not found:
                found, wrappers = [*found, *wrappers], []
            if kind == "connection":
                break  # the processes above are the server's
            if wrappers and kind != "wrapper" and named in (0, *pids):
                break
            pid = parent
        for descriptor in wrappers:
            os.close(descriptor)
        found += _find_srun(environment)
        # Process 1 is the launcher in a container.
        return found if named in (0, 1, *pids) else None
    return None


def _find_srun(environment: Mapping[str, str]) -> list[int]:
    """Return pidfds of the srun of this task if it runs on this node, as it does in the first node of a batch job.

    srun is no ancestor of its tasks, and if it is killed inside a job, they run on. It is the process that listens at
    the port that SLURM names.
    """
    port = environment.get("SLURM_SRUN_COMM_PORT", "")
    found: list[int] = []
    if not port.isdecimal():
        return found
    sockets = _listeners(int(port))
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is another user's
            if (process / "comm").read_text() == "srun\n":
                descriptor = os.pidfd_open(int(process.name))
                held = {os.readlink(file) for file in (process / "fd").iterdir()}
                if sockets & held:
                    found.append(descriptor)
                else:
                    os.close(descriptor)
    return found


def _listeners(port: int) -> set[str]:
    """Return the sockets of this network namespace that listen at a TCP port, as they are named in /proc/PID/fd."""
    sockets = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError), open(table) as lines:
            for fields in map(str.split, lines):
                if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                    sockets.add(f"socket:[{fields[9]}]")
    return sockets


def _parent(pid: int) -> int:
    with open(f"/proc/{pid}/stat", "rb") as file:
        return int(file.read().rpartition(b")")[2].split()[1])


def _kind(pid: int) -> str:
    """Return `launcher`, `wrapper`, `connection` or an empty text, from the first words of a process's command line."""
    with open(f"/proc/{pid}/cmdline", "rb") as file:
        words = [os.path.basename(os.fsdecode(word)) for word in file.read(4096).split(b"\0")[:8]]
    if _SSH_CONNECTION.match(words[0]):
        return "connection"
    if words[0] in _WRAPPERS:
        return "wrapper"
    if words[0].startswith(("python", "pypy")):
        options = [word for word in words[1:] if word == "-m" or not word.startswith("-")]
        words = options[1:] if options[:1] == ["-m"] else options
    return "launcher" if words and words[0].removesuffix(".py") in LAUNCHERS else ""
