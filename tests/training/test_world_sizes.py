"""One rank, two ranks, accumulation and a plain loop without DeepSpeed are the same training."""

from collections.abc import Callable

import pytest
import torch
from optimi import StableAdamW
from small_run import SmallRun

from clinical_modernbert.configs.loader import load
from clinical_modernbert.kernels.packed import PackedBatch
from clinical_modernbert.model.initialize import initialize
from clinical_modernbert.model.masked_lm import MaskedLM
from clinical_modernbert.streaming_data.batches import StepData, rank_micro_batches
from clinical_modernbert.streaming_data.dataset import open_dataset
from clinical_modernbert.training.config import RunConfig
from clinical_modernbert.training.schedule import make_plan

STEPS = 50
LONG = (
    f"schedule.total_tokens={STEPS * 1024}",
    "checkpoint.every_steps=1000",
    "batch.warmup=[{packs: 2, until_tokens: 5120}]",
)


@pytest.fixture(scope="module")
def plain(new_run: Callable[[], SmallRun]) -> list[float]:
    """The losses of a plain loop: all packs of a step in one batch, one process, a published optimizer."""
    run = new_run()
    overrides = [f"run_dir={run.run_dir}", f"data.path={run.data}", *LONG]
    return plain_losses(load(RunConfig, run.recipe, overrides))


def plain_losses(config: RunConfig) -> list[float]:
    dataset = open_dataset(config.data, config.seed)
    assert config.model is not None
    model = MaskedLM(config.model)
    initialize(model, config.seed)
    decayed = [p for p in model.parameters() if p.dim() >= 2]
    others = [p for p in model.parameters() if p.dim() < 2]
    settings = config.optimizer
    optimizer = StableAdamW(
        [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=settings.lr,
        betas=settings.betas,
        eps=settings.eps,
        decouple_lr=True,
        triton=False,
    )
    losses = []
    for step in make_plan(config, 1).from_step(0):
        data = StepData(step.start, step.packs, step.max_seqlen, step.mlm_probability)
        (batch,) = rank_micro_batches(dataset, data, step.packs, 0, 1)
        packed = PackedBatch.from_lengths(batch.lengths, "cpu")
        loss_sum, _ = model(batch.input_ids, packed, batch.masked_positions, batch.targets)
        loss = loss_sum / len(batch.targets)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.engine.gradient_clipping)
        for group in optimizer.param_groups:
            group["lr"] = step.lr
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize(
    ("ranks", "overrides"),
    [
        pytest.param(1, (), id="one-rank-accumulating-1-by-1"),
        pytest.param(1, ("batch.micro_packs=2",), id="one-rank-accumulating-2"),
        pytest.param(2, (), id="two-ranks-accumulating-2"),
    ],
)
def test_every_division_of_a_step_is_the_same_training(
    plain: list[float], new_run: Callable[[], SmallRun], ranks: int, overrides: tuple[str, ...]
) -> None:
    run = new_run()
    run.train(*LONG, *overrides, ranks=ranks)
    assert run.column("loss") == pytest.approx(plain, rel=1e-5)


@pytest.mark.parametrize("stage", [1, 2])
def test_lower_zero_stages_are_the_same_training(
    plain: list[float], new_run: Callable[[], SmallRun], stage: int
) -> None:
    # Their reduction sums in another order, and the first steps of Adam amplify rounding.
    run = new_run()
    run.train(
        f"schedule.total_tokens={12 * 1024}",
        "schedule.decay_tokens=0",
        f"engine.zero_stage={stage}",
        "engine.zero_optimization={}",
        ranks=2,
    )
    other = new_run()
    other.train(
        f"schedule.total_tokens={12 * 1024}",
        "schedule.decay_tokens=0",
    )
    assert run.column("loss") == pytest.approx(other.column("loss"), rel=1e-4)


def test_bf16_follows_fp32(finished: SmallRun, new_run: Callable[[], SmallRun]) -> None:
    run = new_run()
    run.train("engine.precision=bf16", ranks=2)
    assert run.column("loss") == pytest.approx(finished.column("loss"), rel=1e-2)
    assert run.column("data_digest") == finished.column("data_digest")


def test_it_learns(new_run: Callable[[], SmallRun]) -> None:
    """A walk round the vocabulary: each neighbour tells the masked token."""
    run = new_run()
    run.train("schedule.total_tokens=122880", "batch.micro_packs=4", "checkpoint.every_steps=1000")
    losses = run.column("loss")
    assert losses[-1] < 0.8 * losses[0]
