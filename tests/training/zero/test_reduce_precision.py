"""Gradients that ranks add up in bf16: the same training within its rounding, at every stage that allows it.

tests/training/planning/test_memory.py counts their bytes.
"""

import shutil
from collections.abc import Callable

import pytest
from pydantic import ValidationError
from small_run import SmallRun

from clinical_modernbert.training.recipe.engine_config import EngineConfig

BF16 = ("engine.precision=bf16",)
REDUCED = (*BF16, "engine.reduce_precision=bf16")


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_gradients_are_not_rounded_below_the_precision_of_the_computation(precision: str) -> None:
    with pytest.raises(ValidationError, match=f"precision {precision} computes more exactly: set reduce_precision="):
        EngineConfig(zero_stage=3, precision=precision, reduce_precision="bf16")
    with pytest.raises(ValidationError, match="zero_stage 0 with precision bf16"):
        EngineConfig(zero_stage=0, reduce_precision="bf16")


@pytest.mark.slow
@pytest.mark.ranks
@pytest.mark.parametrize("stage", [1, 2, 3])
def test_the_loss_follows_that_of_sums_in_fp32(finished: SmallRun, new_run: Callable[[], SmallRun], stage: int) -> None:
    at_stage = (f"engine.zero_stage={stage}", *(() if stage == 3 else ("engine.zero_optimization={}",)))
    exact, rounded = new_run(), new_run()
    exact.train(*BF16, *at_stage, ranks=2)
    rounded.train(*REDUCED, *at_stage, ranks=2)
    assert rounded.column("data_digest") == finished.column("data_digest")
    assert rounded.column("loss") != exact.column("loss")
    assert rounded.column("loss") == pytest.approx(exact.column("loss"), rel=1e-3)
    assert rounded.column("loss") == pytest.approx(finished.column("loss"), rel=1e-3)
    assert rounded.column("grad_norm") == pytest.approx(exact.column("grad_norm"), rel=1e-2)
    losses = rounded.column("loss")
    for settings, same in ((REDUCED, True), (BF16, False)):
        shutil.rmtree(rounded.run_dir / "checkpoints/step00000012")
        output = rounded.train(*settings, *at_stage, ranks=2)
        assert (rounded.column("loss") == losses) == same
        assert ("changed since this checkpoint: engine.reduce_precision was" in output) == (not same)
    assert rounded.column("loss") == pytest.approx(losses, rel=1e-3)
