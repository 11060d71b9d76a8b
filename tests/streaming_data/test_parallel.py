"""The parallel map returns ordered results, counts, stops at the first error, and its workers exit with the parent."""

import operator
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.streaming_data.parallel import Count, parallel_map

SCRIPT = """
import os, sys, time
from pathlib import Path
from clinical_modernbert.streaming_data.parallel import parallel_map

def task(item, count):
    count(item)
    Path(sys.argv[1], f"{item}.pid").write_text(str(os.getpid()))
    if item == 3:
        raise ValueError("three")
    time.sleep(600 if item < 3 else 0.1 * (item % 2))
    return item * item

if __name__ == "__main__":
    seen = []
    print(parallel_map(task, [int(item) for item in sys.argv[2:]], 2, lambda *report: seen.append(report)), seen[-1])
"""


def square(item: int, count: Count) -> int:
    count(item)
    if item == 13:
        raise UserError("thirteen")
    return item * item


def test_one_process_returns_ordered_results_and_counts() -> None:
    seen: list[tuple[int, int, int]] = []
    assert parallel_map(square, [3, 1, 2], 1, lambda *report: seen.append(report)) == [9, 1, 4]
    assert seen[-1] == (3, 3, 6)


def test_two_processes_return_ordered_results_and_counts(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path), "5", "4", "7", "6"]
    assert subprocess.check_output(command, text=True) == "[25, 16, 49, 36] (4, 4, 22)\n"


def test_the_first_error_is_raised_unchanged() -> None:
    with pytest.raises(UserError, match="thirteen"):
        parallel_map(square, [1, 13, 2], 1, lambda done, total, counted: None)


def start(folder: Path, *items: int) -> tuple["subprocess.Popen[bytes]", list[int]]:
    """Start the script; return it and the ids of its workers once they process the first two items."""
    script = folder / "script.py"
    script.write_text(SCRIPT)
    process = subprocess.Popen([sys.executable, script, folder, *map(str, items)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        started = [path for path in folder.glob("*.pid") if path.read_text()]
        if len(started) >= min(2, len(items)):
            return process, [int(path.read_text()) for path in started]
        time.sleep(0.05)
    raise AssertionError("the workers did not start")


def exited(pid: int) -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.1)
    return False


def test_workers_exit_if_the_parent_is_killed(tmp_path: Path) -> None:
    process, workers = start(tmp_path, 1, 2)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert len(workers) == 2
    assert all(exited(worker) for worker in workers)


def test_an_error_leaves_no_pool_threads_running() -> None:
    with pytest.raises(TypeError, match="unsupported operand"):
        parallel_map(operator.add, range(40), 2, lambda done, total, counted: None)
    names = [f"{type(thread).__name__} {thread.name}" for thread in threading.enumerate()]
    assert [name for name in names if "Executor" in name or "QueueFeeder" in name] == []


def test_an_error_does_not_wait_for_other_items(tmp_path: Path) -> None:
    process, workers = start(tmp_path, 1, 3)
    assert process.wait(timeout=30) == 1
    assert all(exited(worker) for worker in workers)
