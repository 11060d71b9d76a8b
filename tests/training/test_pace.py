"""Real ranks, one of which is slow: it is named with the cause, and the report changes no loss."""

import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from small_run import SmallRun
from warm_start import PATCH

from clinical_modernbert.launcher.report.page import write_report
from clinical_modernbert.launcher.runs.display import summary
from clinical_modernbert.launcher.runs.status import read_status
from clinical_modernbert.training.metrics.csv_log import read_rows
from clinical_modernbert.training.metrics.stragglers import StragglerMetrics

pytestmark = [pytest.mark.slow, pytest.mark.ranks]
RANKS, SLOW = 3, 1
SETTINGS = ("batch.global_batch_size=6", "schedule.total_tokens=36864", "engine={zero_stage: 1, precision: fp32}")
COMPUTES_SLOWLY = f"""
import os, time
from clinical_modernbert.training import objective
forward = objective.forward
def slowly(*arguments):
    time.sleep(0.25 * (os.environ["RANK"] == "{SLOW}"))
    return forward(*arguments)
objective.forward = slowly
"""
READS_SLOWLY = f"""
import os, time
from clinical_modernbert.training import run
stage = run.stage
def slowly(*arguments, **named):
    time.sleep(0.25 * (os.environ["RANK"] == "{SLOW}"))
    return stage(*arguments, **named)
run.stage = slowly
"""
WITHOUT = """
from contextlib import nullcontext
from clinical_modernbert.training import pace, trainer
pace.Pace.computing = pace.Pace.forward = lambda self: nullcontext()
pace.Pace.totals = lambda self: ()
"""


@pytest.fixture
def patched(
    new_run: Callable[[], SmallRun], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[SmallRun, str]]:
    """Trains a run whose ranks execute this program first; returns it and its output."""

    def train(program: str, ranks: int = RANKS) -> tuple[SmallRun, str]:
        (tmp_path / "patch.py").write_text(program)
        monkeypatch.setenv(PATCH, str(tmp_path / "patch.py"))
        run = new_run()
        return run, run.train(*SETTINGS, ranks=ranks)

    return train


def test_the_slow_rank_is_named_and_losses_are_the_same(
    patched: Callable[..., tuple[SmallRun, str]], tmp_path: Path
) -> None:
    expected, _ = patched(WITHOUT)
    assert read_rows(expected.run_dir / "stragglers.csv", StragglerMetrics) == []
    name = f"rank {SLOW} on {socket.gethostname()} takes "
    for program, cause in ((COMPUTES_SLOWLY, "computing"), (READS_SLOWLY, "it waits for its data")):
        run, output = patched(program)
        assert run.column("loss") == expected.column("loss")
        slow = read_status(run.run_dir).slow_rank or ""
        assert slow.startswith(name)
        assert cause in slow
        assert f"slow rank   {slow}" in summary(read_status(run.run_dir))
        assert len(re.findall(f"{re.escape(name)}.*{cause}.*; all ranks wait for it", output)) == 1
        rows = read_rows(run.run_dir / "stragglers.csv", StragglerMetrics)
        assert [row["step"] for row in rows] == run.column("step")[1:], "the first step has nothing before it"
        write_report([run.run_dir], tmp_path / "report.html")
        assert name in (tmp_path / "report.html").read_text()


def test_one_rank_is_compared_with_none(patched: Callable[..., tuple[SmallRun, str]]) -> None:
    run, output = patched(COMPUTES_SLOWLY.replace(f'"{SLOW}"', '"0"'), ranks=1)
    assert not (run.run_dir / "stragglers.csv").exists()
    assert "wait for it" not in output
