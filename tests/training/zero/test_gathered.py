"""ZeRO-3 that keeps its weights gathered is the same training, and chosen stages are recorded and may change."""

import re
import shutil
from collections.abc import Callable

import pytest
from counted_ranks import ENGINES, MODEL, count
from small_run import SmallRun

from clinical_modernbert.configs.loader.load import load
from clinical_modernbert.training.checkpoint.manifest import read_manifest
from clinical_modernbert.training.recipe.config import RunConfig
from clinical_modernbert.training.zero.partition import parameter_sizes

pytestmark = [pytest.mark.slow, pytest.mark.ranks]
GATHERED = ("engine.zero_optimization={}",)
AUTO = ("engine.zero_stage=auto", *GATHERED)


def without_last_checkpoint(run: SmallRun, other: SmallRun) -> None:
    """Give `run` the state of `other` after its eighth step."""
    shutil.copytree(other.run_dir, run.run_dir)
    shutil.rmtree(run.run_dir / "checkpoints/step00000012")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_gathered_weights_train_bit_equal_to_partitioned_ones(
    finished: SmallRun, new_run: Callable[[], SmallRun], precision: str
) -> None:
    """From the start, and continued from a checkpoint; validation and the memory check run on these weights too."""
    settings = (f"engine.precision={precision}",)
    partitioned, gathered = finished, new_run()
    if precision != "fp32":
        partitioned = new_run()
        partitioned.train(*settings, ranks=2)
    extra = ("memory_check=true", "validation={every_steps: 6, packs: 1}")
    output = gathered.train(*settings, *GATHERED, *extra, ranks=2)
    assert "ZeRO-3, as the recipe says; its weights stay gathered" in output
    assert gathered.column("loss") == partitioned.column("loss")
    again = new_run()
    without_last_checkpoint(again, gathered)
    again.train(*settings, *GATHERED, ranks=2)
    assert again.column("loss") == partitioned.column("loss")


@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_weights_that_stay_gathered_share_messages_of_bounded_size(ranks: int) -> None:
    """The ranks compare their weights with those that DeepSpeed gathers, bit for bit (counted_ranks.py)."""
    one, few = "3 bf16, gathered", "3 bf16, gathered in pieces"
    limit = ENGINES[few]["zero_optimization"]["allgather_bucket_size"]
    counted = count(ranks, [one, few])
    parameters, embedding = MODEL.num_parameters, MODEL.vocab_size * MODEL.hidden_size
    padded = 2 * len(parameter_sizes(MODEL)) * ranks
    whole, *more = counted[one].messages["all_gather_into_tensor"]
    assert not more
    assert 2 * parameters <= whole <= 2 * parameters + padded
    pieces = sorted(counted[few].messages["all_gather_into_tensor"])
    assert 2 * parameters <= sum(pieces) <= 2 * parameters + padded
    assert 2 * embedding <= pieces[-1] <= 2 * embedding + padded
    assert limit < pieces[-2] <= 2 * limit + padded
    assert len(pieces) <= 1 + 2 * parameters / limit
    for name in (one, few):  # no more memory than while gradients are exchanged, which the plan counts
        assert 2 * parameters < counted[name].gathering < counted[name].held


def test_weights_that_stay_until_backward_train_bit_equal_to_released_ones(
    finished: SmallRun, new_run: Callable[[], SmallRun]
) -> None:
    """With DeepSpeed's limits all weights of a small model stay; from the start, and continued."""
    run, again = new_run(), new_run()
    stay = ("engine.zero_optimization={stage3_param_persistence_threshold: 0}",)
    assert "its weights are gathered for each micro-batch" in run.train(*stay, ranks=2)
    assert run.column("loss") == finished.column("loss")
    without_last_checkpoint(again, run)
    again.train(*stay, ranks=2)
    assert again.column("loss") == finished.column("loss")


def test_a_run_continues_at_another_stage_from_each_checkpoint(
    finished: SmallRun, new_run: Callable[[], SmallRun]
) -> None:
    run = new_run()
    for settings, stage, lost in [
        (AUTO, 1, (8, 12)),
        (GATHERED, 3, (12,)),
        (("engine.zero_stage=0", *GATHERED), 0, ()),
    ]:
        output = run.train(*settings, ranks=2)
        assert read_manifest(run.newest_checkpoint()).config["engine"]["zero_stage"] == stage
        # The recipe that the run writes down may be started on another machine.
        assert load(RunConfig, run.run_dir / "config.yaml").engine.zero_stage == (stage if stage != 1 else "auto")
        assert len(re.findall(rf"^ZeRO-{stage}, ", output, re.MULTILINE)) == 1
        for step in lost:
            shutil.rmtree(run.run_dir / f"checkpoints/step{step:08d}")
    assert "changed since this checkpoint: engine.zero_stage was 3, is 0" in output
    assert run.column("loss") == pytest.approx(finished.column("loss"), rel=1e-6)
