"""The status of a run, read from its files: while it runs, after it ended, and after it was killed."""

import json
import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from small_data import SEQ_LENGTH
from small_run import RECIPE

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.launcher.runs.display import summary
from clinical_modernbert.launcher.runs.launch_log import record_end, record_start
from clinical_modernbert.launcher.runs.status import read_status
from clinical_modernbert.training.metrics.csv_log import RowLog
from clinical_modernbert.training.metrics.stragglers import ROWS, StragglerMetrics
from clinical_modernbert.training.metrics.writer import StepMetrics

TOKENS_PER_STEP = 4 * SEQ_LENGTH
SPEED = 512.0


def write_attempt(run_dir: Path, number: int, step: int, minute: int) -> None:
    record = {"started": at(minute), "step": step, "world_size": 2, "hosts": ["node1", "node2"]}
    path = run_dir / "attempts" / f"{number:05d}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(record))


def write_launch(run_dir: Path, minute: int, **values: object) -> None:
    with (run_dir / "launches.jsonl").open("a") as file:
        file.write(
            json.dumps({"time": at(minute), "launcher": "local", "job": None, "nodes": "node1", **values}) + "\n"
        )


def at(minute: int) -> str:
    return f"2026-01-01T00:{minute:02d}:00+00:00"


def write_steps(run_dir: Path, steps: int) -> None:
    """Write the metrics of the first of twelve steps; the last is slow, like a step that saves a checkpoint."""
    kinds = {field.name: field.type for field in fields(StepMetrics)}
    rest: dict[str, Any] = {name: "a" if kind is str else 1 for name, kind in kinds.items()}
    log = RowLog(run_dir / "metrics.csv", StepMetrics, 0)
    for step in range(1, steps + 1):
        speed = 1.0 if step == steps else SPEED
        log.write(StepMetrics(**rest | {"step": step, "loss": 5 - step / 10, "tokens_per_second": speed}))
    log.close()


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A run of twelve steps that was stopped after five and has since completed two more."""
    directory = tmp_path / "run"
    directory.mkdir()
    (directory / "config.yaml").write_text(RECIPE)
    write_launch(directory, 1, event="started")
    write_attempt(directory, 1, 0, minute=2)
    write_launch(directory, 3, event="ended", code=85, reason="stopped on request")
    write_launch(directory, 4, event="started")
    write_attempt(directory, 2, 5, minute=5)
    write_steps(directory, 7)
    for name in ("step00000004", "step00000005", ".step00000006.00002"):
        (directory / "checkpoints" / name).mkdir(parents=True)
        (directory / "checkpoints" / name / "manifest.json").touch()
    (directory / "checkpoints" / "step00000007").mkdir()
    return directory


def test_the_status_of_a_running_run(run_dir: Path) -> None:
    status = read_status(run_dir)
    assert (status.state, status.step, status.steps, status.checkpoint_step) == ("running", 7, 12, 5)
    assert status.loss == pytest.approx(4.3)
    assert status.tokens_per_second == SPEED
    assert status.seconds_left == 5 * TOKENS_PER_STEP / SPEED
    assert status.seconds_since_update is not None
    assert 0 <= status.seconds_since_update < 60
    first, second = status.attempts
    assert (first.number, first.step, first.ranks, first.hosts) == (1, 0, 2, "node1 node2")
    assert (first.launcher, first.code, first.reason) == ("local", 85, "stopped on request")
    assert (second.number, second.step, second.code) == (2, 5, None)


def test_a_slow_rank_of_the_last_attempt_is_named(run_dir: Path) -> None:
    log, named = RowLog(run_dir / "stragglers.csv", StragglerMetrics, 0), "rank 1 on node2 takes 3 s per step"
    for step in range(6, 6 + ROWS):
        log.write(StragglerMetrics(step, 1, "node2", 3.0, 2.0, 1.0, 0, 0.1))
    log.close()
    status = read_status(run_dir)
    assert any(line.startswith(f"slow rank   {named}, 1.5 times") for line in summary(status))
    write_attempt(run_dir, 3, 6 + ROWS // 2, minute=6)
    assert read_status(run_dir).slow_rank is None, "the ranks may be on other machines since"


@pytest.mark.parametrize(
    ("code", "state"),
    [
        (0, "complete"),
        (1, "crashed (exit code 1)"),
        (137, "killed by signal 9 (exit code 137)"),
        (85, "stopped on request (exit code 85)"),
    ],
)
def test_the_state_of_an_ended_run(run_dir: Path, code: int, state: str) -> None:
    record_end(run_dir, "local", code)
    assert read_status(run_dir).state == state


def test_an_attempt_whose_ranks_never_connected_is_shown(run_dir: Path) -> None:
    record_end(run_dir, "local", 1)
    record_start(run_dir, "hostfile", "a b")
    record_end(run_dir, "hostfile", 255)
    last = read_status(run_dir).attempts[-1]
    assert (last.number, last.step, last.hosts, last.code) == (None, None, "a b", 255)


def test_an_earlier_attempt_without_a_recorded_end_was_lost(run_dir: Path) -> None:
    record_start(run_dir, "slurm")
    _, second, third = read_status(run_dir).attempts
    assert (second.code, second.reason) == (None, "lost with its launcher")
    assert third.reason is None


def test_attempts_without_a_launch_record_are_shown_in_order(run_dir: Path) -> None:
    write_attempt(run_dir, 3, 7, minute=6)
    attempts = read_status(run_dir).attempts
    assert [attempt.number for attempt in attempts] == [1, 2, 3]
    assert attempts[-1].launcher is None
    (run_dir / "launches.jsonl").unlink()
    status = read_status(run_dir)
    assert [attempt.step for attempt in status.attempts] == [0, 5, 7]
    assert status.state == "unknown, its launcher records no end"


def test_missing_files_of_an_early_crash_are_tolerated(run_dir: Path) -> None:
    (run_dir / "config.yaml").unlink()
    (run_dir / "metrics.csv").unlink()
    (run_dir / "launches.jsonl").write_text((run_dir / "launches.jsonl").read_text() + '{"time": "20')
    status = read_status(run_dir)
    assert (status.step, status.steps, status.loss, status.seconds_left) == (0, None, None, None)


def test_a_directory_without_a_run_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run was started here"):
        read_status(tmp_path)


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_the_command_needs_no_torch(run_dir: Path, options: list[str]) -> None:
    record_start(run_dir, "slurm", "gpu[a-c]")
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from clinical_modernbert.launcher.cli import main; sys.argv[0] = 'cmbert'; main()"
    )
    command = [sys.executable, "-c", code, "status", str(run_dir), *options]
    ended = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "COLUMNS": "160"})
    assert ended.returncode == 0, ended.stderr
    if options:
        (status,) = json.loads(ended.stdout)
        assert (status["step"], status["attempts"][0]["reason"]) == (7, "stopped on request")
    else:
        assert "step        7 of 12, 58.3%" in ended.stdout
        assert "stopped on request (exit code 85)" in ended.stdout
        assert "gpu[a-c]" in ended.stdout
