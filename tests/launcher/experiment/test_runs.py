"""A comparison from start to page with real runs: killed, continued, extended, and refused when a recipe changed."""

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_run import SmallRun
from warm_start import is_running, processes, start

from clinical_modernbert.launcher.runs.launch_log import read_launches

STEPS = 4


class Comparison:
    """Two recipes that differ in the learning rate, and their comparison in `out`."""

    def __init__(self, home: Path, run: SmallRun, out: str) -> None:
        self.home, self.out = home, home / out
        (home / "one.yaml").write_text(
            f"extends: {run.recipe}\ndata: {{path: {run.data}}}\nengine: {{zero_stage: 0}}\n"
            f"validation: {{every_steps: 0}}\ncheckpoint: {{every_steps: 1}}\n"
        )
        (home / "two.yaml").write_text("extends: one.yaml\noptimizer: {lr: 3e-2}\n")

    def start(self, *options: str) -> Any:
        recipes = [str(self.home / name) for name in ("one.yaml", "two.yaml")]
        arguments = ["compare-recipes", *recipes, "--out", str(self.out), "--tokens", str(STEPS * 1024), *options]
        return start(arguments, self.home / "output.txt")

    def run(self, *options: str, code: int = 0) -> str:
        process = self.start(*options)
        process.join(timeout=400)
        output = (self.home / "output.txt").read_text()
        assert process.exitcode == code, output
        return output

    def numbers(self) -> dict[str, Any]:
        numbers: dict[str, Any] = json.loads((self.out / "comparison.json").read_text())
        return numbers

    def starts(self) -> dict[str, int]:
        """How often each run was started."""
        return {
            path.name: sum(line["event"] == "started" for line in read_launches(path))
            for path in (self.out / "runs").iterdir()
        }

    def kill(self, number: signal.Signals, when: Callable[[], bool], *options: str) -> int | None:
        """Signal the command as soon as something has happened; return its exit code when all its children ended."""
        process = self.start(*options)
        deadline = time.monotonic() + 300
        while not when():
            assert process.is_alive(), (self.home / "output.txt").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.002)
        children = processes(process)
        os.kill(process.pid, number)
        process.join(timeout=200)
        while any(is_running(child) for child in children):
            assert time.monotonic() < deadline, "a run outlived the comparison"
            time.sleep(0.01)
        return process.exitcode


@pytest.mark.slow
@pytest.mark.ranks
def test_a_comparison_that_is_killed_continues_to_the_same_page(
    new_run: Callable[[], SmallRun], tmp_path: Path
) -> None:
    run = new_run()
    whole, killed = Comparison(tmp_path, run, "whole"), Comparison(tmp_path, run, "killed")
    two = ("--seeds", "2", "--claim", "*loss")
    output = whole.run(*two)
    assert whole.starts() == {"one-17": 1, "one-18": 1, "two-17": 1, "two-18": 1}
    assert output.count("masked-words  ") == 4
    assert f"Next: cmbert report {whole.out}/runs/one-17 {whole.out}/runs/two-17 --out" in output
    assert "What may be claimed" in (whole.out / "comparison.md").read_text()

    def first_step_of(name: str) -> Callable[[], bool]:
        metrics = killed.out / "runs" / name / "metrics.csv"
        return lambda: metrics.is_file() and metrics.read_bytes().count(b"\n") > 1

    assert killed.kill(signal.SIGKILL, first_step_of("two-17"), *two, "--jobs", "1") == -signal.SIGKILL
    # Stopped as a scheduler stops it: the running training saves, and the code says so.
    assert killed.kill(signal.SIGTERM, first_step_of("one-18"), *two, "--jobs", "1") == 85
    killed.run(*two, "--jobs", "2")
    assert killed.starts()["one-17"] == 1  # it was finished
    assert killed.starts()["two-17"] == 2
    assert killed.numbers() == whole.numbers()

    page = (whole.out / "comparison.md").read_bytes()
    (tmp_path / "two.yaml").write_text("extends: one.yaml\noptimizer: {lr: 1e-2}\n")
    refused = whole.run(*two, code=2)
    assert "two.optimizer.lr (0.03 before, 0.01 now)" in refused
    assert (whole.out / "comparison.md").read_bytes() == page

    (tmp_path / "two.yaml").write_text("extends: one.yaml\noptimizer: {lr: 3e-2}\n")
    (whole.out / "logs" / "one-17.log").unlink()
    whole.run("--seeds", "3", "--claim", "*loss", "--jobs", "2")
    assert whole.starts() == {f"{arm}-{seed}": 1 for arm in ("one", "two") for seed in (17, 18, 19)}
    assert not (whole.out / "logs" / "one-17.log").exists()  # nothing of it was run again
    assert whole.numbers()["seeds"] == [17, 18, 19]
    assert "number of seeds was changed" in (whole.out / "comparison.md").read_text()


@pytest.mark.slow
@pytest.mark.ranks
def test_a_run_that_fails_ends_the_comparison_with_its_code_and_its_message(
    new_run: Callable[[], SmallRun], tmp_path: Path
) -> None:
    comparison = Comparison(tmp_path, new_run(), "out")
    # A file is where the second run's directory should be, which only its training finds.
    (comparison.out / "runs").mkdir(parents=True)
    (comparison.out / "runs" / "two-17").touch()
    output = comparison.run("--seeds", "2", "--jobs", "2", code=2)
    assert "two-17 ended with exit code 2; its log is" in output
    assert str(comparison.out / "runs" / "two-17") in output.split("its log is")[1]
