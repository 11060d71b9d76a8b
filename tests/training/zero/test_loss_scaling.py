"""A step whose loss or gradients are not finite is skipped: in any precision, at any stage, by all ranks alike."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from small_run import SmallRun
from warm_start import PATCH

from clinical_modernbert.streaming_data.loader.config import DataConfig
from clinical_modernbert.streaming_data.loader.dataset import open_dataset
from clinical_modernbert.training.checkpoint.save_load import consolidate_with_optimizer

pytestmark = pytest.mark.slow
FAULT = """
import torch
from clinical_modernbert.training import objective

def forward(engine, batch, forward=objective.forward):
    loss, correct = forward(engine, batch)
    if loss.requires_grad and any(list(address) in {bad} for address in batch.addresses):
        if {kind!r} == "loss":
            loss = loss + torch.inf  # its gradient stays finite
        else:
            loss.register_hook(lambda gradient: gradient * torch.nan)
    return loss, correct

objective.forward = forward
"""
EVERY_STEP = ("checkpoint.every_steps=1", "checkpoint.keep_last=12")


@pytest.fixture
def spoil(small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes the first pack of each of these steps, counted from 1, one whose loss or gradients are not finite."""

    def write(kind: str, *steps: int) -> None:
        order = open_dataset(DataConfig(path=str(small_data), seq_length=256), 17, packs_per_step=4).order
        bad = [list(order.between(4 * (step - 1), 4 * step)[0]) for step in steps]
        (tmp_path / "fault.py").write_text(FAULT.format(bad=bad, kind=kind))
        monkeypatch.setenv(PATCH, str(tmp_path / "fault.py"))

    return write


def state(run: SmallRun, step: int) -> dict[str, torch.Tensor]:
    return consolidate_with_optimizer(run.run_dir / f"checkpoints/step{step:08d}")


@pytest.mark.parametrize(
    ("stage", "precision", "kind"),
    [(0, "fp32", "gradient"), (1, "bf16", "loss"), (2, "bf16", "gradient"), (3, "fp32", "loss"), (3, "bf16", "loss")],
)
def test_a_skipped_step_changes_nothing_and_a_resumed_run_skips_it_too(
    new_run: Callable[[], SmallRun], spoil: Callable[..., None], stage: int, precision: str, kind: str
) -> None:
    spoil(kind, 6)
    run = new_run()
    settings = [f"engine.zero_stage={stage}", f"engine.precision={precision}", *EVERY_STEP]
    settings += ["engine.zero_optimization={}"] if stage < 3 else []
    output = run.train(*settings, ranks=2)
    assert run.column("skipped_steps") == [0] * 5 + [1] * 7
    assert output.count("step 6 (source:epoch:pack ") == output.count("not finite") == 1
    before, after = state(run, 5), state(run, 6)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not all(torch.equal(before[name], tensor) for name, tensor in state(run, 7).items())
    losses = run.column("loss")[6:]
    assert torch.isfinite(torch.tensor(losses)).all()
    for step in range(5, 13):
        shutil.rmtree(run.run_dir / f"checkpoints/step{step:08d}")
    run.train(*settings, ranks=2)
    assert run.column("skipped_steps") == [0] * 5 + [1] * 7
    assert run.column("loss")[6:] == losses


def test_another_number_of_ranks_skips_the_same_steps(
    new_run: Callable[[], SmallRun], spoil: Callable[..., None]
) -> None:
    spoil("loss", 4, 9)
    one, two = new_run(), new_run()
    one.train(ranks=1)
    two.train(ranks=2)
    assert one.column("skipped_steps") == two.column("skipped_steps") == [0] * 3 + [1] * 5 + [2] * 4
    finite = [row for row in range(12) if row not in (3, 8)]
    for row in finite:
        assert one.column("loss")[row] == pytest.approx(two.column("loss")[row], rel=1e-5)


def test_too_many_skipped_steps_rewind_the_run_at_the_same_step_after_a_resume(
    new_run: Callable[[], SmallRun], spoil: Callable[..., None]
) -> None:
    spoil("gradient", 3, 6)
    run, resumed = new_run(), new_run()
    rewind = "engine.max_skipped_steps=1"
    assert "step 6 (source:epoch:pack " in (output := run.train(rewind, ranks=2))
    assert "2 of the last 128 steps were not finite; going back to the last checkpoint, without 8 packs" in output
    assert json.loads((run.run_dir / "skips.json").read_text()) == [{"after": 16, "packs": 8}]
    # This one stops after the first skipped step, and must remember it.
    resumed.train(rewind, f"schedule.total_tokens={4 * 4 * 256}", "schedule.decay_tokens=0", ranks=2)
    resumed.train(rewind, ranks=2)
    assert json.loads((resumed.run_dir / "skips.json").read_text()) == [{"after": 16, "packs": 8}]
    assert resumed.column("data_digest") == run.column("data_digest")


def test_a_run_that_stays_not_finite_ends_after_its_rewinds(
    new_run: Callable[[], SmallRun], spoil: Callable[..., None]
) -> None:
    spoil("loss", *range(1, 16))
    run = new_run()
    output = run.train("engine.max_skipped_steps=2", "spikes.max_rewinds=1", ranks=2, code=1)
    assert "3 of the last 128 steps were not finite again after 1 rewinds; the run stopped" in output
    assert json.loads((run.run_dir / "skips.json").read_text()) == [{"after": 0, "packs": 12}]
