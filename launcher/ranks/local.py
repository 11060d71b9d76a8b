"""Several ranks of one command on this machine, ended together and never left behind.

Each rank leads a session of its own: Ctrl-C reaches the launcher alone, which passes it on once, and what a rank leaves
behind (data-loader workers) can be ended as a group. Should the launcher itself be killed, the kernel ends the ranks
(Linux: PR_SET_PDEATHSIG, prctl(2)).
"""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from ...configs.errors import UserError
from ...streaming_data.parallel import available_cores

FORWARDED = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
LAUNCHER_PID = "CMBERT_LAUNCHER_PID"
_CRASH_SECONDS = 30.0
_POLL_SECONDS = 0.02
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@dataclass(frozen=True)
class Place:
    """This machine's part of a run on several.

    Attributes:
        first_rank: of those that run here.
        world_size: ranks on all machines.
        address: of the machine with rank 0, as the others reach it.
        port: free there.
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
    place: Place | None = None,
    received: list[int] | None = None,
) -> int:
    """Runs `command` once a rank with the variables that torch.distributed reads, and waits for all of them.

    Returns 0 when every rank did, else the exit code of the first rank that failed (128 + n when signal n killed it).
    The others then get SIGTERM, and SIGKILL `grace` seconds later, at most 30 after a crash. SIGTERM, SIGUSR1 and
    SIGINT to this process go to every rank; a rank that fails after one of them may be stopping as asked, so the others
    first have `grace` seconds to follow it. `env` is added to this process's environment. Call it from the main thread.
    `received` may be filled by another thread, with signals that came in another way.
    Raises UserError when the command cannot be started.
    """
    if ranks < 1:
        raise UserError(f"{ranks} ranks cannot run anything: expected at least 1")
    received = [] if received is None else received
    with ExitStack() as cleanup:
        cleanup.enter_context(noting_signals(received))
        here = place or Place(0, ranks, "127.0.0.1", cleanup.enter_context(_reserved_port()))
        shared = {**_shared_environment(ranks, here, alone=place is None), **env}
        running: dict[str, subprocess.Popen] = {}
        for local_rank in range(ranks):
            rank = str(here.first_rank + local_rank)
            running[f"rank {rank}"] = start_bound(command, {**shared, "RANK": rank, "LOCAL_RANK": str(local_rank)})
            cleanup.callback(kill, running[f"rank {rank}"])
        return watch(running, received, grace)


def die_with_parent() -> None:
    """Has the kernel kill this rank when the launcher that started it dies; for a rank's entry point to call.

    Needed where a wrapper (a profiler, `deepspeed`) stands between `run_ranks` and the rank, or instead of it. Without
    a launcher (no LOCAL_SIZE, which `run_ranks` and DeepSpeed's set) and outside Linux it does nothing: a process that
    was started by hand may outlive its shell.
    """
    if _LIBC is None or "LOCAL_SIZE" not in os.environ:
        return
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    launcher = os.environ.get(LAUNCHER_PID)
    if launcher and not _exists(int(launcher)):
        # it died before the kernel was asked to tell
        os.kill(os.getpid(), signal.SIGKILL)


def start_bound(
    command: Sequence[str], environment: Mapping[str, str] | None = None, **streams: Any
) -> subprocess.Popen:
    """Start a process that leads a session of its own and dies with this one. `streams` are those of Popen."""
    launcher = os.getpid()

    def bind_to_launcher() -> None:
        if _LIBC is not None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != launcher:
                os.kill(os.getpid(), signal.SIGKILL)

    try:
        return subprocess.Popen(
            command, env=environment, start_new_session=True, preexec_fn=bind_to_launcher, **streams
        )
    except OSError as error:
        raise UserError(f"{command[0]}: cannot be started: {error.strerror}") from error


def _shared_environment(ranks: int, place: Place, alone: bool) -> dict[str, str]:
    environment = {
        **os.environ,
        "WORLD_SIZE": str(place.world_size),
        "LOCAL_WORLD_SIZE": str(ranks),
        "LOCAL_SIZE": str(ranks),
        "MASTER_ADDR": place.address,
        "MASTER_PORT": str(place.port),
        LAUNCHER_PID: str(os.getpid()),
    }
    if alone and sys.platform == "linux" and not _has_accelerator():
        # else gloo looks up the host's name, which on a laptop may lead to an address that is not reachable
        environment.setdefault("GLOO_SOCKET_IFNAME", "lo")
    # else every rank starts a thread for every core, and they wait for each other
    environment.setdefault("OMP_NUM_THREADS", str(max(1, available_cores() // ranks)))
    return environment


def _has_accelerator() -> bool:
    """Whether the driver of NVIDIA, AMD or Intel shows a device; asking torch would take seconds."""
    devices = Path("/dev")
    return any(any(devices.glob(name)) for name in ("nvidia[0-9]*", "kfd", "accel*"))


@contextmanager
def _reserved_port() -> Iterator[int]:
    """A free port, kept bound (never listening) until the ranks have ended, so that no one else is given it.

    With SO_REUSEADDR on both sides, as torch's store sets it, rank 0 can still listen there.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@contextmanager
def noting_signals(received: list[int]) -> Iterator[None]:
    """Notes signals instead of obeying them: the loop forwards them once every rank has been started."""

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)

    previous = {number: signal.signal(number, note) for number in FORWARDED}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def watch(running: dict[str, Any], received: list[int], grace: float) -> int:
    """Waits until none of the processes `running`, by name, is left, forwarding what is `received`.

    Returns what `run_ranks` does. Processes have the methods and `pid` of Popen.
    """
    forwarded = False
    failure = 0
    planned: list[tuple[float, int]] = []
    while running:
        while received:
            forwarded = True
            _send(running.values(), received.pop(0))
        for name, process in list(running.items()):
            if (code := process.poll()) is None:
                continue
            del running[name]
            _end_group(process)
            if code and not failure:
                failure = 128 - code if code < 0 else code
                print(f"{name} {_how_it_ended(code)}", file=sys.stderr, flush=True)
                # Unasked it is a crash: the others stand in a collective and can save nothing.
                patience, last = (grace, grace) if forwarded else (0, min(grace, _CRASH_SECONDS))
                end = time.monotonic() + patience
                planned = [(end, signal.SIGTERM), (end + last, signal.SIGKILL)]
        while planned and time.monotonic() >= planned[0][0]:
            _send(running.values(), planned.pop(0)[1])
        time.sleep(_POLL_SECONDS)
    return failure


def _send(processes: Iterable[Any], number: int) -> None:
    for process in processes:
        process.send_signal(number)


def _end_group(process: Any) -> None:
    """Ends what a rank left behind. SIGTERM, because multiprocessing's tracker ignores it and still tidies /dev/shm."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGTERM)


def kill(process: Any) -> None:
    """End it at once, if it still runs, with what it left behind."""
    if process.poll() is None:
        process.kill()
        process.wait()
        _end_group(process)


def _how_it_ended(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"exited with code {code}"


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
