"""Work in processes: in order, counted, ended by the first error, and ended with the process that asked for it."""

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
from clinical_modernbert.streaming_data.parallel import Count, in_parallel

SCRIPT = """
import os, sys, time
from pathlib import Path
from clinical_modernbert.streaming_data.parallel import in_parallel

def task(item, count):
    count(item)
    Path(sys.argv[1], f"{item}.pid").write_text(str(os.getpid()))
    if item == 3:
        raise ValueError("three")
    time.sleep(600 if item < 3 else 0.1 * (item % 2))
    return item * item

if __name__ == "__main__":
    seen = []
    print(in_parallel(task, [int(item) for item in sys.argv[2:]], 2, lambda *report: seen.append(report)), seen[-1])
"""


def square(item: int, count: Count) -> int:
    count(item)
    if item == 13:
        raise UserError("thirteen")
    return item * item


def test_in_one_process_results_are_in_order_and_everything_is_counted() -> None:
    seen: list[tuple[int, int, int]] = []
    assert in_parallel(square, [3, 1, 2], 1, lambda *report: seen.append(report)) == [9, 1, 4]
    assert seen[-1] == (3, 3, 6)


def test_in_two_processes_too(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, tmp_path / "script.py", tmp_path, "5", "4", "7", "6"]
    assert subprocess.check_output(command, text=True) == "[25, 16, 49, 36] (4, 4, 22)\n"


def test_the_first_error_is_raised_as_it_is() -> None:
    with pytest.raises(UserError, match="thirteen"):
        in_parallel(square, [1, 13, 2], 1, lambda done, total, counted: None)


def start(folder: Path, *items: int) -> tuple["subprocess.Popen[bytes]", list[int]]:
    """The script at work on the first two items, and the processes that do it."""
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


def ended(pid: int) -> bool:
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


def test_workers_end_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    process, workers = start(tmp_path, 1, 2)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert len(workers) == 2
    assert all(ended(worker) for worker in workers)


def test_an_error_leaves_no_thread_behind_that_the_end_of_the_program_would_trip_over() -> None:
    with pytest.raises(TypeError, match="unsupported operand"):
        in_parallel(operator.add, range(40), 2, lambda done, total, counted: None)
    names = [f"{type(thread).__name__} {thread.name}" for thread in threading.enumerate()]
    assert [name for name in names if "Executor" in name or "QueueFeeder" in name] == []


def test_an_error_does_not_wait_for_the_others(tmp_path: Path) -> None:
    process, workers = start(tmp_path, 1, 3)
    assert process.wait(timeout=30) == 1
    assert all(ended(worker) for worker in workers)
