"""The running average of the weights: what it is, at any number of ranks, continued, evaluated and exported."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from small_run import SmallRun

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.model.hugging_face import from_pretrained
from clinical_modernbert.training.checkpoint.save_load import consolidate
from clinical_modernbert.training.checkpoint.shard_reader import AVERAGE
from clinical_modernbert.training.export.export import export_checkpoint
from clinical_modernbert.training.metrics.csv_log import read_rows
from clinical_modernbert.training.metrics.writer import ValidationMetrics

pytestmark = [pytest.mark.slow, pytest.mark.ranks]
DECAY = 0.75
AVERAGED = (
    f"running_average.decay={DECAY}",
    "checkpoint={every_steps: 1, keep_last: 12}",
    "validation={every_steps: 6, packs: 2}",
    "optimizer.name=muon",
    "optimizer.muon.dtype=fp32",
)


@pytest.fixture(scope="module")
def averaged(new_run: Callable[[], SmallRun]) -> SmallRun:
    """A run of twelve steps on two ranks at ZeRO-3 with a checkpoint of every step."""
    run = new_run()
    run.train(*AVERAGED, ranks=2)
    return run


def average_of(run: SmallRun, step: int) -> dict[str, torch.Tensor]:
    return consolidate(run.run_dir / f"checkpoints/step{step:08d}", AVERAGE)


def scores(run: SmallRun, name: str) -> list[dict]:
    return read_rows(run.run_dir / name, ValidationMetrics)


def test_it_is_the_mean_of_the_first_weights_and_then_exponential(averaged: SmallRun) -> None:
    expected: dict[str, torch.Tensor] = {}
    for step in range(1, 13):
        weights = consolidate(averaged.run_dir / f"checkpoints/step{step:08d}")
        share = 1 / step if step <= 4 else 1 - DECAY
        expected = {name: expected.get(name, value).lerp(value, share) for name, value in weights.items()}
        if step in (1, 3, 12):
            for name, value in average_of(averaged, step).items():
                torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-6)


def test_it_is_the_same_at_any_partitioning_and_bit_equal_when_continued(
    averaged: SmallRun, new_run: Callable[[], SmallRun]
) -> None:
    """With it, evaluated in between, the weights are those of a run without it."""
    for settings, ranks in (((), 2), (("engine.zero_stage=1", "engine.zero_optimization={}"), 1)):
        run = new_run()
        shutil.copytree(averaged.run_dir, run.run_dir)
        for step in range(5, 13):
            shutil.rmtree(run.run_dir / f"checkpoints/step{step:08d}")
        run.train(*AVERAGED, *settings, ranks=ranks)
        for name, value in average_of(run, 12).items():
            expected = average_of(averaged, 12)[name]
            assert torch.equal(value, expected) if ranks == 2 else torch.allclose(value, expected, 1e-5, 1e-6), name
        for file in ("validation.csv", "validation-average.csv"):
            found, wanted = ([row["loss"] for row in scores(one, file)] for one in (run, averaged))
            assert found == (wanted if ranks == 2 else pytest.approx(wanted, rel=1e-5))
    without = new_run()
    without.train(*AVERAGED, "running_average=null", "validation.every_steps=0", ranks=2)
    assert without.column("loss") == averaged.column("loss")


def test_it_is_evaluated_and_exported(averaged: SmallRun, finished: SmallRun, tmp_path: Path) -> None:
    losses = {row["step"]: row["loss"] for row in scores(averaged, "validation-average.csv")}
    assert losses.keys() == {6, 12}
    assert all(losses[row["step"]] != row["loss"] for row in scores(averaged, "validation.csv"))
    export_checkpoint(averaged.run_dir, tmp_path / "model", average=True)
    assert "| weights | running average, decay 0.75 per step |" in (tmp_path / "model/README.md").read_text()
    exported = dict(from_pretrained(tmp_path / "model").named_parameters())
    assert all(torch.equal(exported[name], value) for name, value in average_of(averaged, 12).items())
    with pytest.raises(UserError, match="the checkpoint has no running average"):
        export_checkpoint(finished.run_dir, tmp_path / "other", average=True)


def test_a_run_may_begin_one_and_end_one(copy: SmallRun) -> None:
    """It begins as the weights that the checkpoint has; afterwards, nothing of it is left."""
    shutil.rmtree(copy.newest_checkpoint())
    copy.train("running_average.decay=0.5", "checkpoint.every_steps=1", "schedule.total_tokens=9216", ranks=2)
    before, after = (consolidate(copy.run_dir / f"checkpoints/step{step:08d}") for step in (8, 9))
    for name, value in average_of(copy, 9).items():
        torch.testing.assert_close(value, before[name].lerp(after[name], 0.5), rtol=1e-6, atol=1e-7)
    copy.train("schedule.total_tokens=10240", ranks=2)
    with pytest.raises(UserError, match="the run kept no running average"):
        average_of(copy, 10)
