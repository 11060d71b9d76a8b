"""One rank, two ranks, accumulation and a plain loop without DeepSpeed are the same training."""

import shutil
from collections.abc import Callable

import pytest
import torch
from optimi import StableAdamW
from pydantic import ValidationError
from small_data import SEQ_LENGTH
from small_run import SmallRun

from clinical_modernbert.configs.loader.load import load
from clinical_modernbert.kernels.packed import PackedBatch
from clinical_modernbert.model.initialize import initialize
from clinical_modernbert.model.masked_lm import MaskedLM
from clinical_modernbert.streaming_data.loader.batches import StepData, rank_micro_batches
from clinical_modernbert.streaming_data.loader.dataset import open_dataset
from clinical_modernbert.training.checkpoint.save_load import consolidate
from clinical_modernbert.training.recipe.config import RunConfig
from clinical_modernbert.training.recipe.engine_config import EngineConfig
from clinical_modernbert.training.recipe.schedule import make_plan

STEPS = 25
LONG = (
    f"schedule.total_tokens={STEPS * 1024}",
    "checkpoint.every_steps=1000",
    "batch.warmup=[{global_batch_size: 2, until_tokens: 5120}]",
)


DETOUR = "schedule.objective=[{objective: causal, until_tokens: 15000}, {objective: masked}]"


def plain_losses(config: RunConfig) -> list[float]:
    """The losses of a plain loop: one process, all packs of a step in one batch, a published optimizer."""
    dataset = open_dataset(config.data, config.seed, packs_per_step=config.batch.global_batch_size)
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
        data = StepData(step.start, step.packs, step.max_seqlen, step.mlm_probability, step.objective)
        (batch,) = rank_micro_batches(dataset, data, step.packs, 0, 1)
        packed = PackedBatch.from_lengths(batch.lengths, "cpu")
        causal = step.objective == "causal"
        loss_sum, _ = model(batch.input_ids, packed, batch.masked_positions, batch.targets, causal=causal)
        loss = loss_sum / len(batch.targets)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.engine.gradient_clipping)
        for group in optimizer.param_groups:
            group["lr"] = step.lr
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("objective", [(), (DETOUR,)], ids=["masked", "causal then masked"])
def test_two_ranks_train_the_same_as_a_plain_loop(new_run: Callable[[], SmallRun], objective: tuple[str, ...]) -> None:
    run = new_run()
    run.train(*LONG, *objective, ranks=2)
    overrides = [f"run_dir={run.run_dir}", f"data.path={run.data}", *LONG, *objective]
    assert run.column("loss") == pytest.approx(plain_losses(load(RunConfig, run.recipe, overrides)), rel=1e-5)
    assert {*run.column("objective")} == ({"causal", "masked"} if objective else {"masked"})


@pytest.mark.parametrize(
    "overrides",
    [pytest.param((), id="accumulating-4"), pytest.param(("batch.micro_batch_size=4",), id="one-micro-batch")],
)
def test_one_rank_trains_the_same_as_two(
    finished: SmallRun, new_run: Callable[[], SmallRun], overrides: tuple[str, ...]
) -> None:
    run = new_run()
    run.train(*overrides)
    assert run.column("loss") == pytest.approx(finished.column("loss"), rel=1e-6)


STAGE = "engine.zero_stage={}", "engine.zero_optimization={{}}"


def stage(number: int, *overrides: str) -> tuple[str, ...]:
    return tuple(setting.format(number) for setting in STAGE) + overrides


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(stage(0), id="0"),
        pytest.param(stage(1, "engine.offload_optimizer=cpu"), id="1-offload"),
        pytest.param(stage(2), id="2"),
        pytest.param(
            ("engine.zero_optimization={overlap_comm: true, reduce_bucket_size: 2e4}",), id="3-overlap-small-buckets"
        ),
        pytest.param(
            (
                "engine.zero_hpz_partition_size=2",
                "engine.activation_checkpointing=true",
                "engine.offload_optimizer=cpu",
            ),
            id="3-hpz-offload-activation-checkpointing",
        ),
    ],
)
def test_every_partitioning_of_the_state_trains_the_same(
    finished: SmallRun, new_run: Callable[[], SmallRun], settings: tuple[str, ...]
) -> None:
    """Resume a run at strict ZeRO-3 from its eighth step; the last checkpoint must equal the run's own."""
    run = new_run()
    shutil.copytree(finished.run_dir, run.run_dir)
    shutil.rmtree(run.run_dir / "checkpoints/step00000012")
    run.train(*settings, "memory_check=true", ranks=2)
    assert run.column("loss") == pytest.approx(finished.column("loss"), rel=1e-6)
    weights, expected = (consolidate(each.run_dir / "checkpoints/step00000012") for each in (run, finished))
    assert weights.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(weights[name], value, rtol=1e-5, atol=1e-6, msg=name)


FIVE = (
    "batch.global_batch_size=5",
    f"schedule.total_tokens={8 * 5 * SEQ_LENGTH}",
    f"schedule.objective=[{{objective: causal, until_tokens: {3 * 5 * SEQ_LENGTH}}}, {{objective: masked}}]",
    "checkpoint.every_steps=8",
)


@pytest.fixture(scope="module")
def five_packs(new_run: Callable[[], SmallRun]) -> SmallRun:
    """Eight steps of five packs on one rank."""
    run = new_run()
    run.train(*FIVE, *stage(1), "batch.micro_batch_size=5")
    return run


@pytest.mark.parametrize(
    ("ranks", "settings"),
    [
        # Some ranks have a pack less, and a micro-batch of padding in its place.
        pytest.param(2, stage(1), id="2 ranks, ZeRO-1, filled up"),
        pytest.param(3, (), id="3 ranks, strict ZeRO-3, filled up"),
        # All ranks have one micro-batch, some of two packs and some of one.
        pytest.param(3, stage(1, "batch.micro_batch_size=2"), id="3 ranks, ZeRO-1, split"),
        pytest.param(4, ("batch.micro_batch_size=2",), id="4 ranks, strict ZeRO-3, split"),
    ],
)
def test_ranks_that_do_not_divide_the_batch_train_the_same_as_one(
    five_packs: SmallRun, new_run: Callable[[], SmallRun], ranks: int, settings: tuple[str, ...]
) -> None:
    run = new_run()
    output = run.train(*FIVE, *settings, "memory_check=true", ranks=ranks)
    assert f"5 packs = {ranks} ranks x" in output
    for exact in ("data_digest", "masked", "tokens", "flops", "skipped_steps"):
        assert run.column(exact) == five_packs.column(exact), exact
    for name in ("loss", "grad_norm"):
        assert run.column(name) == pytest.approx(five_packs.column(name), rel=1e-6), name
    weights, expected = (consolidate(each.newest_checkpoint()) for each in (run, five_packs))
    for name, value in expected.items():
        torch.testing.assert_close(weights[name], value, rtol=1e-5, atol=2e-6, msg=name)


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(("engine.precision=bf16",), id="bf16-3"),
        pytest.param(stage(1, "engine.precision=bf16"), id="bf16-1"),
    ],
)
def test_low_precision_follows_fp32(
    finished: SmallRun, new_run: Callable[[], SmallRun], settings: tuple[str, ...]
) -> None:
    run = new_run()
    run.train(*settings, ranks=2)
    assert run.column("loss") == pytest.approx(finished.column("loss"), rel=1e-3)
    assert run.column("data_digest") == finished.column("data_digest")


def test_fp16_skips_steps_that_overflow_until_its_scale_fits(
    finished: SmallRun, new_run: Callable[[], SmallRun]
) -> None:
    """Weights are so large that gradients overflow at the first scale. A resume restores the scale."""
    run = new_run()
    settings = stage(1, "engine.precision=fp16", "model.initializer_range=2")
    output = run.train(*settings, ranks=2)
    skipped, scales = run.column("skipped_steps"), run.column("loss_scale")
    assert 0 < skipped[-1] < 12
    assert output.count("skipped: its loss or gradients are not finite, loss scale") == skipped[-1]
    assert scales == [2 ** (16 - max(0, count - 1)) for count in skipped]  # the first overflow does not lower the scale
    assert run.column("data_digest") == finished.column("data_digest")
    before = run.rows()
    shutil.rmtree(run.run_dir / "checkpoints/step00000012")
    run.train(*settings, ranks=2)
    for row, again in zip(before, run.rows(), strict=True):
        assert all(again[name] == row[name] for name in ("loss", "grad_norm", "skipped_steps", "loss_scale"))


def test_fp16_that_overflows_too_often_ends_the_run(new_run: Callable[[], SmallRun]) -> None:
    settings = stage(1, "engine.precision=fp16", "model.initializer_range=2", "engine.max_skipped_steps=0")
    settings = (*settings, "spikes.max_rewinds=0")
    output = new_run().train(*settings, code=1)
    assert "step 1 (source:epoch:pack " in output
    assert "1 of the last 128 steps were not finite again after 0 rewinds; the run stopped" in output


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"zero_stage": 0}, "zero_stage 0 with precision bf16 would add up gradients in bf16: set zero_stage=1"),
        ({"offload_optimizer": "nvme"}, "out of reach of checkpoints .* set offload_optimizer=cpu"),
        ({"zero_stage": 0, "precision": "fp32", "offload_optimizer": "cpu"}, "needs partitions to move"),
        ({"zero_stage": 1, "zero_optimization": {"overlap_comm": True}}, "overlap_comm needs zero_stage 2 or 3"),
        ({"zero_stage": 2, "zero_hpz_partition_size": 2}, "set zero_stage=3 or zero_hpz_partition_size=1"),
        ({"zero_optimization": {"stage": 1}}, "set engine.zero_stage instead"),
    ],
)
def test_settings_that_cannot_be_combined_are_refused(settings: dict, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        EngineConfig(**settings)
