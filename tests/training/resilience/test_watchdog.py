"""Only what takes many times as long as a step counts as a hang, and slow runs are healthy."""

import random
import subprocess
import sys
from types import SimpleNamespace
from typing import Any, cast

import pytest

from clinical_modernbert.training.recipe.config import HangConfig, ProfileConfig, RunConfig
from clinical_modernbert.training.recipe.schedule import StepSettings
from clinical_modernbert.training.resilience import watchdog
from clinical_modernbert.training.resilience.heartbeat import Heartbeat
from clinical_modernbert.training.resilience.watchdog import FIRST_STEPS, Watchdog

PATIENCE, FLOOR, FACTOR = 1200.0, 30.0, 10.0
PROFILED = range(60, 64)


class Rank:
    """A rank on a clock of its own, whose beats are checked as a warden would."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **hangs: float) -> None:
        self.now, self.begun, self.limit, self.place = 1000.0, 1000.0, 0.0, ""
        self.hangs: list[str] = []
        monkeypatch.setattr(watchdog, "monotonic", lambda: self.now)
        monkeypatch.setenv("RANK", "1")
        config = SimpleNamespace(
            hangs=HangConfig(**({"factor": FACTOR, "floor_seconds": FLOOR} | hangs)),
            engine=SimpleNamespace(step_timeout_minutes=PATIENCE / 60),
            profile=ProfileConfig(first_step=PROFILED[0], steps=3),
        )
        self.watchdog = Watchdog(cast(Heartbeat, self), cast(RunConfig, config))

    def beat(self, place: str, seconds: float) -> None:
        self.spend(0)
        self.begun, self.limit, self.place = self.now, seconds, place

    def spend(self, seconds: float) -> None:
        self.now += seconds
        if self.limit and self.now - self.begun > self.limit:
            self.hangs.append(f"{self.place}: {self.now - self.begun:.0f} of {self.limit:.0f} s")

    def step(self, number: int, seconds: float, packs: int = 8, max_seqlen: int = 512, wait: float = 0.0) -> None:
        self.watchdog.step(cast(StepSettings, settings(number, packs, max_seqlen)))
        self.spend(wait)
        self.watchdog.exchanged([])
        for part, share in (("forward and backward", 0.8), ("optimizer", 0.15), ("metrics", 0.05)):
            self.watchdog.enter(part)
            self.spend(share * seconds)


def settings(number: int, packs: int, max_seqlen: int) -> Any:
    return SimpleNamespace(step=number - 1, packs=packs, max_seqlen=max_seqlen, objective="masked")


def test_a_slow_run_is_never_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of any length that vary fivefold, batches and sequences that grow, compilation, validation, checkpoints."""
    for seed in range(40):
        draw = random.Random(seed)
        rank = Rank(monkeypatch)
        usual = 10 ** draw.uniform(-2, 2)
        rank.spend(0.9 * PATIENCE)  # opening the run
        for number in range(1, 90):
            packs, max_seqlen = 8 * (1 + number // 8), 512 if number < 40 else 8192
            seconds = packs * usual / 8 * draw.choice([0.5, 1, 1, 1, 5]) * (6 if max_seqlen > 512 else 1)
            if number in (1, 40) or number in PROFILED:
                seconds = 0.9 * PATIENCE  # kernels are compiled, a trace is written
            rank.step(number, min(seconds, PATIENCE), packs, max_seqlen, wait=0.9 * PATIENCE * (number % 20 == 1))
            if number % 20 == 0:
                for part in ("validation", "checkpoint"):
                    rank.watchdog.enter(part, patiently=True)
                    rank.spend(0.9 * PATIENCE)
        assert not rank.hangs, f"seed {seed}: {rank.hangs}"


@pytest.mark.parametrize("usual", [0.2, 20.0])
def test_a_part_that_takes_many_steps_is_a_hang(monkeypatch: pytest.MonkeyPatch, usual: float) -> None:
    limit = max(FLOOR, FACTOR * usual)
    for part in ("forward and backward", "optimizer", "metrics"):
        rank = Rank(monkeypatch)
        for number in range(1, FIRST_STEPS + 2):
            rank.step(number, usual)
        rank.watchdog.step(settings(FIRST_STEPS + 2, 8, 512))
        rank.spend(1.02 * limit)
        assert "exchange with the other ranks" in rank.hangs.pop()
        rank.watchdog.enter(part)
        rank.hangs.clear()
        rank.spend(0.98 * limit)
        assert not rank.hangs
        rank.spend(0.04 * limit)
        assert rank.hangs[0].startswith(f"step {FIRST_STEPS + 2}, {part} (a step takes {usual:.3g} s)")


def test_data_has_the_patience_of_its_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CMBERT_DOWNLOAD_PATIENCE", "100")
    rank = Rank(monkeypatch)
    for number in range(1, FIRST_STEPS + 2):
        rank.step(number, 1.0)
    rank.watchdog.step(settings(FIRST_STEPS + 2, 8, 512))
    for _ in range(300):  # another rank has no data: this one exchanges and is healthy
        rank.spend(1)
        rank.watchdog.exchanged([0])
    assert not rank.hangs
    assert "rank 0 waited for data" in rank.place
    for _ in range(229):  # and now this one
        rank.watchdog.exchanged([1])
        rank.spend(1)
    assert not rank.hangs
    rank.spend(2)
    assert rank.hangs[0].startswith(f"step {FIRST_STEPS + 2}, data of this rank")


def test_zero_switches_it_off(monkeypatch: pytest.MonkeyPatch) -> None:
    rank = Rank(monkeypatch, factor=0)
    for number in range(1, FIRST_STEPS + 3):
        rank.step(number, 1.0)
    assert rank.limit == PATIENCE


def test_without_a_warden_a_rank_ends_itself_and_prints_files_and_lines() -> None:
    program = """
import time
from clinical_modernbert.training.resilience.heartbeat import Heartbeat
secret = "values are not printed"
heartbeat = Heartbeat()
heartbeat.beat("the start", 100)
heartbeat.beat("step 1", 0.5)
time.sleep(60)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=50)
    assert done.returncode == 1
    assert 'File "<string>", line 8 in <module>' in done.stderr
    assert "values" not in done.stderr
