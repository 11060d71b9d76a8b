"""`cmbert train` as a user starts it, without the seconds that each process needs to import torch and DeepSpeed.

A server that has imported everything forks the launcher, and the launcher forks its ranks where it would otherwise
start Python. Everything else is real: processes, signals, sockets, exit codes. Tests in tests/launcher start new
processes.
"""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from multiprocessing import get_context
from multiprocessing.context import ForkServerContext, ForkServerProcess
from multiprocessing.forkserver import ensure_running
from pathlib import Path
from subprocess import STDOUT
from types import SimpleNamespace
from typing import BinaryIO, NoReturn

from clinical_modernbert.launcher.ranks.local import FORWARDED

PATCH = "CMBERT_TEST_PATCH"
"""Names a Python file that each rank runs first, for faults that nothing outside the process can cause."""
IMPORTED = [
    "warm_imports",
    "clinical_modernbert.training.trainer",
    "clinical_modernbert.storage.mosaic",
    "clinical_modernbert.launcher.cli",
]


def start(arguments: Sequence[str], output: Path) -> ForkServerProcess:
    """Start `cmbert ARGUMENTS` in the current environment, with stdout and stderr going to a file."""
    process = server().Process(target=_launch, args=(list(arguments), dict(os.environ), output))
    process.start()
    return process


def processes(launcher: ForkServerProcess) -> list[int]:
    """Process ids of the launcher and its ranks; none once it has ended."""
    with suppress(FileNotFoundError):
        children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
        return [launcher.pid or 0, *map(int, children)]
    return []


def is_running(pid: int) -> bool:
    """Whether the process runs; one that has ended and waits for its parent does not."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


@cache
def server() -> ForkServerContext:
    """The server: its processes have imported everything already."""
    os.environ.setdefault("DS_ACCELERATOR", "cpu")  # a rank sets it too late: DeepSpeed is imported already
    context = get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    path = os.environ.get("PYTHONPATH")
    # pytest's own path is not the server's
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(__file__).parent), path]))
    try:
        ensure_running()
    finally:
        os.environ.pop("PYTHONPATH") if path is None else os.environ.update(PYTHONPATH=path)
    return context


def _launch(arguments: list[str], environment: dict[str, str], output: Path) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.umask(0o022)  # the server may have been started after a command that changed it
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup
    with output.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    from clinical_modernbert.launcher import cli
    from clinical_modernbert.launcher.ranks import local

    local.subprocess = SimpleNamespace(Popen=ForkedRank)  # type: ignore[assignment]
    sys.argv = ["cmbert", *arguments]
    cli.main()


class ForkedRank:
    """A rank or a `cmbert` command, with the methods of `subprocess.Popen` that the launcher uses."""

    def __init__(
        self,
        command: Sequence[str],
        env: dict[str, str],
        start_new_session: bool,
        preexec_fn: Callable[[], None],
        stdout: BinaryIO | None = None,
        stderr: int | None = None,
    ) -> None:
        assert start_new_session
        assert stderr in (None, STDOUT)
        self._code: int | None = None
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if not self.pid:
            if stdout is not None:
                os.dup2(stdout.fileno(), 1)
                os.dup2(stdout.fileno(), 2)
            become_child(command, env, preexec_fn)

    def poll(self) -> int | None:
        return self._reap(os.WNOHANG)

    def wait(self) -> int | None:
        return self._reap(0)

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _reap(self, options: int) -> int | None:
        if self._code is None:
            pid, status = os.waitpid(self.pid, options)
            self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code


def become_child(command: Sequence[str], environment: dict[str, str], bind_to_launcher: Callable[[], None]) -> NoReturn:
    """Run the program of a rank, or a command. It never returns into the launcher's code, whatever happens."""
    try:
        os.setsid()
        bind_to_launcher()
        for number in FORWARDED:
            signal.signal(number, signal.SIG_DFL)
        os.environ.clear()
        os.environ.update(environment)
        import torch

        from clinical_modernbert.launcher import cli, train

        torch.set_num_threads(int(environment.get("OMP_NUM_THREADS", "1")))
        if list(command[1:3]) == ["-m", "clinical_modernbert.launcher"]:
            sys.argv = ["cmbert", *command[3:]]
            _end(cli.main)
        if patch := environment.get(PATCH):
            exec(Path(patch).read_text(), {})
        sys.argv = list(command[1:])
        train.main()
    finally:
        os._exit(70)


def _end(program: Callable[[], None]) -> NoReturn:
    """End the process with the exit code of a program that ends with SystemExit."""
    code: object = 70
    try:
        program()
    except SystemExit as ended:
        code = ended.code or 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 1)
