"""Real ranks that hang in each of the ways are ended, named with their place, and leave the others unblamed."""

import os
import re
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from small_run import SmallRun
from warm_start import PATCH, processes

from clinical_modernbert.launcher.ranks import hangs
from clinical_modernbert.training.resilience.heartbeat import Heartbeat

LONG = ("schedule.total_tokens=4096000", "checkpoint.every_steps=4000", "hangs={factor: 10, floor_seconds: 2}")
SLOW = """
import time
from clinical_modernbert.training import trainer
computed, steps = trainer.accumulate, []
def accumulate(*arguments):
    steps.append(None)
    time.sleep(1.5 if len(steps) == 12 else 0.3)
    return computed(*arguments)
trainer.accumulate = accumulate
"""
HOLD_THE_LOCK = """
import ctypes, os
from clinical_modernbert.training import trainer
computed, steps = trainer.accumulate, []
def accumulate(*arguments):
    steps.append(None)
    lock = ctypes.create_string_buffer(64)
    for _ in range(2 * (len(steps) == 12 and os.environ["RANK"] == "1")):
        ctypes.PyDLL(None).pthread_mutex_lock(lock)  # forever, with the GIL held
    return computed(*arguments)
trainer.accumulate = accumulate
"""
STOP_READING = """
import os, time
from clinical_modernbert.training import run
staged, micro_batches, secret = run.stage, [], "a value"
def stage(batch, device):
    micro_batches.append(None)
    if len(micro_batches) == 30 and os.environ["RANK"] == "1":
        time.sleep(1000)
    return staged(batch, device)
run.stage = stage
"""


@pytest.fixture
def patch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def write(program: str) -> None:
        (tmp_path / "patch.py").write_text(program)
        monkeypatch.setenv(PATCH, str(tmp_path / "patch.py"))

    return write


def errors(output: str) -> list[str]:
    return re.findall(rf"^error: rank \d+ on {re.escape(socket.gethostname())} hangs: .*$", output, re.MULTILINE)


@pytest.mark.slow
@pytest.mark.ranks
def test_a_stopped_rank_is_ended_and_a_slow_step_is_not(
    new_run: Callable[[], SmallRun], patch: Callable[[str], None]
) -> None:
    """One step takes five times as long as the others; later one rank is stopped."""
    patch(SLOW)
    run = new_run()
    process = run.start(*LONG, ranks=2)
    deadline = time.monotonic() + 200
    while run.completed_steps() < 14:
        assert process.is_alive(), run.output.read_text()
        assert time.monotonic() < deadline, run.output.read_text()
        time.sleep(0.05)
    os.kill(processes(process)[2], signal.SIGSTOP)
    stopped = time.monotonic()
    process.join(100)
    output = run.output.read_text()
    assert process.exitcode == 128 + signal.SIGKILL, output
    assert time.monotonic() - stopped < 60, "not after minutes"
    (error,) = errors(output)
    assert error.startswith("error: rank 1 ")
    assert re.search(r"in step 1\d, .* \(a step takes [\d.]+ s\): the process is stopped", error)


@pytest.mark.slow
@pytest.mark.ranks
@pytest.mark.parametrize(
    ("fault", "place"),
    [
        (
            HOLD_THE_LOCK,
            r"step 12, forward and backward \(a step .*: it does not return from <string>:\d+ in accumulate",
        ),
        (STOP_READING, r"step \d\d, data of this rank, before the exchange .*: "),
    ],
)
def test_a_rank_that_hangs_is_named_with_its_place(
    new_run: Callable[[], SmallRun],
    patch: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    fault: str,
    place: str,
) -> None:
    patch(fault)
    monkeypatch.setenv("CMBERT_DOWNLOAD_PATIENCE", "1")
    monkeypatch.setenv("CMBERT_EXIT_FILE", str(tmp_path / "exit"))
    output = (run := new_run()).train(*LONG, ranks=2, code=128 + signal.SIGKILL)
    (error,) = errors(output)
    assert error.startswith("error: rank 1 ")
    assert re.search(place, error), error
    assert re.search(r'^  File ".*training/trainer\.py", line \d+ in ', output, re.MULTILINE), "stacks"
    assert "a value" not in output
    assert (tmp_path / "exit").read_text().startswith(f"1 rank 1 on {socket.gethostname()} hung in step ")
    assert run.completed_steps() >= 8


def test_time_in_which_everything_was_suspended_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(hangs, "time", type("Clock", (), {"monotonic": staticmethod(lambda: now)}))
    monkeypatch.setattr(hangs, "what_it_does", lambda pid, heartbeat: ("it does not return", False))
    (heartbeat := Heartbeat()).watched = True
    silence = hangs.Silence(heartbeat)
    heartbeat.beat("step 3, optimizer", 30)
    for pause in (1, 1, 36_000, 1, 1):
        now += pause
        assert silence.too_long(os.getpid()) is None
    ticks = 0
    while not silence.too_long(os.getpid()):
        now += 1
        ticks += 1
    assert 20 < ticks < 31
    heartbeat.beat("step 3, metrics", 30)
    now += 1
    assert silence.too_long(os.getpid()) is None


def test_a_rank_that_waits_for_others_is_ended_after_the_one_that_they_wait_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr(hangs, "time", type("Clock", (), {"monotonic": staticmethod(lambda: now)}))
    ended = []
    for waits in (False, True):
        monkeypatch.setattr(hangs, "what_it_does", lambda pid, heartbeat, waits=waits: ("stuck", waits))
        (heartbeat := Heartbeat()).watched = True
        heartbeat.beat("step 3, optimizer", 30)
        silence, seconds = hangs.Silence(heartbeat), 0
        while not silence.too_long(os.getpid()):
            now += 1
            seconds += 1
        ended.append(seconds)
    assert ended[1] - ended[0] == hangs.WAITING_SECONDS
