"""Run several ranks of one command on this machine; end them together and leave no process behind.

Each rank leads its own session: Ctrl-C reaches only the launcher, which forwards it once, and processes that a rank
leaves behind (data-loader workers) can be ended as a group. If the launcher itself is killed, its ranks receive SIGTERM
and save a checkpoint, and their wardens end those that do not stop (`warden.py`).
"""

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from ...configs.errors import USER_ERROR, UserError
from ...streaming_data.parallel import available_cores
from ...training.resilience.exit_codes import REWOUND, STOPPED, WAITING
from ...training.resilience.signals import requests_to_stop
from .warden import LAUNCHER_PID, send_at_death_of_parent

logger = logging.getLogger(__name__)

FORWARDED = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGHUP)
CRASH_GRACE_SECONDS = 30.0
EXPLAINED_EXITS = (USER_ERROR, STOPPED, REWOUND, WAITING)
"""Exit codes of a rank that has already reported why it ends."""
_POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Rendezvous:
    """How the ranks of this machine find the others of a run on several machines.

    Attributes:
        first_rank: the lowest rank on this machine.
        world_size: number of ranks on all machines.
        address: the machine of rank 0, as the others reach it.
        port: a free port there.
    """

    first_rank: int
    world_size: int
    address: str
    port: int


def run_ranks(
    command: Sequence[str],
    ranks: int,
    env: Mapping[str, str] = {},
    grace: float = 30.0,
    rendezvous: Rendezvous | None = None,
    received: list[int] | None = None,
    crash_grace: float = CRASH_GRACE_SECONDS,
    silent_codes: Collection[int] = EXPLAINED_EXITS,
    devices: Path = Path("/dev"),
) -> int:
    """Run `command` once per rank with torch.distributed's variables, and wait for all ranks. Main thread only.

    SIGTERM, SIGUSR1, SIGINT and SIGHUP to this process are forwarded to every rank. When a rank fails after that, it
    may be stopping as requested, so the other ranks first have `grace` seconds to stop by themselves. When a rank fails
    without a signal, it has crashed and the others get SIGTERM at once. SIGKILL follows SIGTERM after `grace` seconds,
    after a crash at most `crash_grace`.

    Args:
        env: added to this process's environment.
        rendezvous: None if all ranks run on this machine.
        received: signals to forward; another thread may append signals that arrive in other ways.
        silent_codes: exit codes of the first failed rank that are not reported, because its output explains them.
        devices: where drivers list accelerators.
    Returns:
        0 if every rank returned 0, else the exit code of the first rank that failed: 128 + n if signal n killed it.
    Raises:
        UserError: the command cannot be started.
    """
    if ranks < 1:
        raise UserError(f"{ranks} ranks cannot run anything: expected at least 1")
    received = [] if received is None else received
    with ExitStack() as cleanup:
        cleanup.enter_context(collect_signals(received))
        local = rendezvous or Rendezvous(0, ranks, "127.0.0.1", cleanup.enter_context(_reserve_port()))
        on_loopback = rendezvous is None and sys.platform == "linux" and not _has_accelerator(devices)
        shared = {**_shared_environment(ranks, local, on_loopback), **env}
        running: dict[str, subprocess.Popen] = {}
        for local_rank in range(ranks):
            rank = str(local.first_rank + local_rank)
            own = {"RANK": rank, "LOCAL_RANK": str(local_rank)}
            # Not SIGKILL: an orphaned rank saves a checkpoint, and its warden sees to it that it ends.
            running[f"rank {rank}"] = start_child(command, {**shared, **own}, when_orphaned=signal.SIGTERM)
            cleanup.callback(kill, running[f"rank {rank}"])
        return supervise(running, received, grace, crash_grace, silent_codes)


def start_child(
    command: Sequence[str],
    environment: Mapping[str, str] | None = None,
    *,
    when_orphaned: signal.Signals = signal.SIGKILL,
    **streams: Any,
) -> subprocess.Popen:
    """Start a process that leads its own session and receives the signal `when_orphaned` when this one dies.

    `streams` are passed to Popen.
    """
    launcher = os.getpid()

    def bind_to_launcher() -> None:
        if when_orphaned != signal.SIGKILL:
            signal.signal(when_orphaned, signal.SIG_DFL)  # the launcher's handler, until the command runs
        send_at_death_of_parent(when_orphaned)
        if os.getppid() != launcher:
            os._exit(128 + when_orphaned)

    try:
        return subprocess.Popen(
            command, env=environment, start_new_session=True, preexec_fn=bind_to_launcher, **streams
        )
    except OSError as error:
        raise UserError(f"{command[0]}: cannot be started: {error.strerror}") from error


def _shared_environment(ranks: int, rendezvous: Rendezvous, on_loopback: bool) -> dict[str, str]:
    environment = {
        **os.environ,
        "WORLD_SIZE": str(rendezvous.world_size),
        "LOCAL_WORLD_SIZE": str(ranks),
        "LOCAL_SIZE": str(ranks),
        "MASTER_ADDR": rendezvous.address,
        "MASTER_PORT": str(rendezvous.port),
        LAUNCHER_PID: str(os.getpid()),
    }
    if on_loopback:
        # Otherwise gloo resolves the host's name, which on a laptop may give an unreachable address.
        environment.setdefault("GLOO_SOCKET_IFNAME", "lo")
    # Otherwise every rank starts one thread per core, and the threads wait for each other.
    environment.setdefault("OMP_NUM_THREADS", str(max(1, available_cores() // ranks)))
    return environment


def _has_accelerator(devices: Path) -> bool:
    """Whether a driver of NVIDIA, AMD or Intel lists a device. Importing torch to find out would take seconds."""
    return any(any(devices.glob(name)) for name in ("nvidia[0-9]*", "kfd", "accel*"))


@contextmanager
def _reserve_port() -> Iterator[int]:
    """Yield a free port that stays bound (but not listening) until the ranks have ended, so no other process gets it.

    With SO_REUSEADDR on both sockets, which torch's store sets too, rank 0 can still listen on it.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@contextmanager
def collect_signals(received: list[int]) -> Iterator[None]:
    """Append signals to `received` instead of acting on them; `supervise` forwards them once all ranks are started."""

    def append(number: int, frame: FrameType | None) -> None:
        received.append(number)

    previous = {number: signal.signal(number, append) for number in requests_to_stop()}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def supervise(
    running: dict[str, Any],
    received: list[int],
    grace: float,
    crash_grace: float = CRASH_GRACE_SECONDS,
    silent_codes: Collection[int] = EXPLAINED_EXITS,
) -> int:
    """Wait for all processes in `running`, by name, and forward `received` signals, as described in `run_ranks`.

    Processes have the methods and the `pid` of Popen.
    """
    forwarded = False
    failure = 0
    planned: list[tuple[float, int]] = []
    while running:
        while received:
            forwarded = True
            _send(running.values(), received.pop(0))
        ended = {name: code for name, process in running.items() if (code := process.poll()) is not None}
        # Of those that have ended since the last look, a killed one is first: others fail because they lost it.
        for name, code in sorted(ended.items(), key=lambda each: each[1] >= 0):
            process = running.pop(name)
            _end_group(process)
            if code and not failure:
                failure = 128 - code if code < 0 else code
                if failure not in silent_codes:
                    logger.error("%s %s", name, _describe_exit(code))
                # Without a signal it is a crash: the other ranks hang in a collective and cannot save a checkpoint.
                before_term, before_kill = (grace, grace) if forwarded else (0, min(grace, crash_grace))
                term = time.monotonic() + before_term
                planned = [(term, signal.SIGTERM), (term + before_kill, signal.SIGKILL)]
        while planned and time.monotonic() >= planned[0][0]:
            _send(running.values(), planned.pop(0)[1])
        time.sleep(_POLL_SECONDS)
    return failure


def _send(processes: Iterable[Any], number: int) -> None:
    for process in processes:
        process.send_signal(number)


def _end_group(process: Any) -> None:
    """End processes that a rank left behind. Multiprocessing's tracker ignores SIGTERM and still cleans up /dev/shm."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGTERM)


def kill(process: Any) -> None:
    """Kill a process, if it still runs, and the processes it left behind."""
    if process.poll() is None:
        process.kill()
        process.wait()
        _end_group(process)


def _describe_exit(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"
