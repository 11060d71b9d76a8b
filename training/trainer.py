"""The training run, from its configuration to its last checkpoint."""

from collections.abc import Iterator, Sequence
from functools import partial
from statistics import fmean
from time import perf_counter

import torch

from ..configs.errors import UserError
from ..streaming_data.loader.batches import MicroBatch, StepData, load
from .measure import Timer, measure
from .memory_check import check_memory
from .objective import accumulate
from .progress import Progress, save
from .recipe.config import RunConfig
from .recipe.schedule import StepSettings
from .resilience.exit_codes import STOPPED
from .resilience.lockstep import Agreement, agree
from .resilience.signals import StopRequest
from .resilience.spikes import Skip, SpikeWatch, place, rewind
from .resilience.watchdog import expect_progress_within
from .run import Run, open_run
from .validation import evaluate
from .zero.engine import set_learning_rate
from .zero.loss_scaling import count_skipped, loss_scale


def train(config: RunConfig, stop: StopRequest) -> int:
    """Train, or continue where the newest checkpoint in `run_dir` stands. Every rank calls it.

    Returns:
        The exit code: 0 when the run is complete, 85 when it was asked to stop and should be started again.
    Raises:
        LossSpikeError: the loss jumped; the next start goes on from the last checkpoint without what was read since.
        UserError: the configuration, the data or the checkpoints do not allow it.
    """
    expect_progress_within(config.engine.step_timeout_minutes)
    run, progress = open_run(config)
    if progress.step == run.plan.steps:
        run.say(f"complete: all {progress.step:,} steps are made; a larger schedule.total_tokens adds some")
    if config.memory_check or (config.memory_check is None and run.device.type == "cuda"):
        check_memory(run.engine, run.plan, progress.step)

    saved, skipped, spikes = progress, 0, SpikeWatch(config.spikes)
    batches = open_batches(run, progress.step)
    for settings in run.plan.from_step(progress.step):
        expect_progress_within(config.engine.step_timeout_minutes)
        run.profiler.before(settings.step + 1)
        timer = Timer()
        micro_batches = next(batches)
        timer.data_is_here()
        agreed = agree_on(run, settings, micro_batches, stop)
        if agreed.stop:
            if progress != saved:
                save_checkpoint(run, progress)
            break

        totals = update(run, settings, agreed, micro_batches)
        skipped = count_skipped(run.engine, config.engine, skipped, partial(describe_packs, run, settings))
        if skipped:
            run.say(f"step {settings.step + 1} skipped: fp16 overflowed, loss scale {loss_scale(run.engine):,.0f}")
        progress = progress.after(settings.packs, dict(zip(run.dataset.sources, agreed.source_tokens, strict=True)))
        run.profiler.after(progress.step)

        if run.due(config.metrics.every_steps, progress.step):
            row = measure(run, settings, progress, agreed, totals, micro_batches, timer)
            if spikes.jumps(row.loss):
                rewind(config, run.skips, Skip(saved.packs, progress.packs - saved.packs), row.step)
        validation_loss = score(run, progress.step) if run.due(config.validation.every_steps, progress.step) else None
        if run.due(config.checkpoint.every_steps, progress.step):
            save_checkpoint(run, progress, validation_loss)
            saved = progress
    expect_progress_within(0)
    run.close()
    return 0 if progress.step == run.plan.steps else STOPPED


def open_batches(run: Run, step: int) -> Iterator[Sequence[MicroBatch]]:
    """This rank's micro-batches of every step from `step` on, prepared ahead."""
    data = (
        StepData(place(run.skips, s.start), s.packs, s.max_seqlen, s.mlm_probability) for s in run.plan.from_step(step)
    )
    return load(run.dataset, data, run.config.batch.micro_batch_size, run.rank, run.plan.world_size)


def agree_on(run: Run, settings: StepSettings, micro_batches: Sequence[MicroBatch], stop: StopRequest) -> Agreement:
    """What all ranks are about to do.

    Raises:
        UserError: the run was started again since, and belongs to the newer start.
    """
    agreed = agree(
        settings.step,
        micro_batches,
        len(run.dataset.sources),
        run.device,
        stop=stop.requested,
        # One question a step to a shared disk, not one a rank.
        superseded=run.rank == 0 and run.attempt.superseded(),
    )
    if agreed.superseded:
        raise UserError(
            f"{run.config.run_dir}: the run was started again while start {run.attempt.number} was still there: this "
            "one ends here and has written nothing since"
        )
    return agreed


def update(run: Run, settings: StepSettings, agreed: Agreement, micro_batches: Sequence[MicroBatch]) -> torch.Tensor:
    """One optimizer step; returns this rank's [sum of losses, correct predictions]."""
    totals = accumulate(run.engine, micro_batches, agreed.masked, run.config.seed)
    set_learning_rate(run.engine, settings.lr)
    run.engine.step()
    return totals


def score(run: Run, step: int) -> float | None:
    """The held-out loss after `step` steps, the mean over sources; None if they hold too little text to mask."""
    assert run.validation is not None
    scores = list(evaluate(run.engine, run.validation, run.config.validation.packs, step))
    if run.metrics is not None:
        run.metrics.write_validation(scores)
    return fmean(one.loss for one in scores) if scores else None


def save_checkpoint(run: Run, progress: Progress, validation_loss: float | None = None) -> None:
    started = perf_counter()
    path = save(run.engine, run.config, run.dataset, progress, run.skips, run.attempt, run.mirror, validation_loss)
    run.say(f"checkpoint {path}, {perf_counter() - started:.2f} s")


def describe_packs(run: Run, settings: StepSettings) -> str:
    """The step and its packs, for errors."""
    first = place(run.skips, settings.start)
    packs = run.dataset.order.between(first, first + settings.packs)
    named = ", ".join(f"{run.dataset.sources[p.source]}:{p.epoch}:{p.pack}" for p in packs)
    return f"step {settings.step + 1} (source:epoch:pack {named})"
