"""A real Dask cluster on this machine: a scheduler and workers, each a process that the `dask` command starts."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from clinical_modernbert.configs.errors import UserError

SECONDS = 120.0


class DaskCluster:
    """A scheduler, and workers that are added; all write to `log`."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.log = home / "log"
        self.scheduler_file = home / "scheduler.json"
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        self._dask("scheduler", "--scheduler-file", str(self.scheduler_file), "--host", "127.0.0.1", "--port", "0")
        wait_for(self.scheduler_file.is_file, "the scheduler's file")

    def add_worker(self, *options: str, under: Sequence[str] = ()) -> "subprocess.Popen[bytes]":
        """Start a worker, one process without a nanny that would start it again."""
        threads = () if "--nthreads" in options else ("--nthreads", "1")
        local = ("--local-directory", str(self.home / "local"))
        where = ("--scheduler-file", str(self.scheduler_file), "--host", "127.0.0.1")
        return self._dask("worker", *where, "--no-nanny", *threads, *local, *options, under=under)

    def kill(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()

    def _dask(self, command: str, *options: str, under: Sequence[str] = ()) -> "subprocess.Popen[bytes]":
        arguments = [*under, sys.executable, "-m", "dask", command, "--no-dashboard", *options]
        # Functions of the tests are imported on workers, as those of the product are.
        paths = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        with self.log.open("ab") as log:
            process = subprocess.Popen(arguments, stdout=log, stderr=log, env=environment, cwd=self.home)
        self.processes.append(process)
        return process


def wait_for(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited {SECONDS:.0f} s for {what}"
        time.sleep(0.05)


def mark_once(item: tuple[Path, int], count: Callable[[int], None]) -> None:
    """A task for workers: leaves a file, after a moment."""
    directory, number = item
    time.sleep(0.05)
    (directory / str(number)).write_bytes(b"")
    count(2)


def quote_text(text: str, count: Callable[[int], None]) -> None:
    """A task for workers that fails, as libraries do, with the text in its message."""
    raise ValueError(f"cannot parse {text!r}")


def refuse() -> None:
    """A check of workers that fails."""
    raise UserError("no room")


def names_of_tasks(dask_scheduler: Any) -> str:
    """All that a scheduler remembers of tasks: its log of transitions has every name."""
    return str(list(dask_scheduler.transition_log))


def pause(number: int, count: Callable[[int], None]) -> None:
    """A task for workers that takes a moment."""
    time.sleep(0.05)
