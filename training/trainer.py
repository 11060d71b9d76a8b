"""The training run, from its configuration to its last checkpoint."""

import logging
from collections.abc import Sequence
from functools import partial
from statistics import fmean

import torch

from ..configs.errors import UserError
from ..streaming_data.loader.batches import MicroBatch
from .measure import Timer, measure, measure_mix
from .memory_check import check_memory
from .metrics.writer import MetricsWriter
from .objective import accumulate
from .recipe.config import RunConfig
from .recipe.schedule import StepSettings
from .resilience.exit_codes import STOPPED
from .resilience.signals import StopRequest
from .resilience.skips import Skip
from .resilience.spikes import SpikeDetector, rewind
from .resilience.step_agreement import Agreement, agree
from .resilience.watchdog import expect_progress_within
from .run import Run, open_batches, open_metrics, open_run
from .validation import evaluate
from .zero.engine import set_learning_rate
from .zero.loss_scaling import count_skipped_steps, loss_scale

logger = logging.getLogger(__name__)


def train(config: RunConfig, stop: StopRequest) -> int:
    """Train, or continue from the newest checkpoint in `run_dir`. Every rank calls it.

    Returns:
        The exit code: 0 if the run is complete, 85 if it was requested to stop and should be started again.
    Raises:
        LossSpikeError: the loss spiked; the next attempt continues from the last checkpoint and leaves out the packs
            that were read since.
        UserError: the configuration, the data or the checkpoints do not allow training.
    """
    expect_progress_within(config.engine.step_timeout_minutes)
    run = open_run(config)
    with run.checkpointer:
        return train_run(run, stop)


def train_run(run: Run, stop: StopRequest) -> int:
    """Train an open run; see `train`."""
    config = run.config
    progress = run.checkpointer.resume(run.plan)
    metrics = open_metrics(run, progress)
    if progress.step == run.plan.steps:
        logger.info(f"complete: all {progress.step:,} steps are done; raise schedule.total_tokens to train further")
    if config.memory_check or (config.memory_check is None and run.device.type == "cuda"):
        check_memory(run.engine, run.plan, progress.step)

    saved, skipped, spikes = progress, 0, SpikeDetector(config.spikes)
    batches = open_batches(run, progress.step)
    for settings in run.plan.from_step(progress.step):
        expect_progress_within(config.engine.step_timeout_minutes)
        run.profiler.before(settings.step + 1)
        timer = Timer()
        micro_batches = next(batches)
        timer.data_arrived()
        agreed = agree_on_step(run, settings, micro_batches, stop)
        if agreed.stop:
            if progress != saved:
                run.checkpointer.save(progress)
            break

        totals = update(run, settings, agreed, micro_batches)
        skipped = count_skipped_steps(run.engine, config.engine, skipped, partial(run.describe_step, settings))
        if skipped:
            logger.info(f"step {settings.step + 1} skipped: fp16 overflowed, loss scale {loss_scale(run.engine):,.0f}")
        progress = progress.after(settings.packs, dict(zip(run.dataset.sources, agreed.source_tokens, strict=True)))
        run.profiler.after(progress.step)

        if run.due(config.metrics.every_steps, progress.step):
            row = measure(run, settings, progress, agreed, totals, micro_batches, timer)
            if metrics is not None:
                metrics.write(row)
                metrics.write_mix(measure_mix(run, progress))
            if spikes.is_spike(row.loss):
                unsaved = Skip(saved.packs, progress.packs - saved.packs)
                rewind(config.run_dir, config.spikes, run.checkpointer.skips, unsaved, row.step)
        validation_loss = None
        if run.due(config.validation.every_steps, progress.step):
            validation_loss = validate(run, progress.step, metrics)
        if run.due(config.checkpoint.every_steps, progress.step):
            run.checkpointer.save(progress, validation_loss)
            saved = progress
    run.checkpointer.wait()
    expect_progress_within(0)
    run.checkpointer.close()
    if metrics is not None:
        metrics.close()
    return 0 if progress.step == run.plan.steps else STOPPED


def agree_on_step(
    run: Run, settings: StepSettings, micro_batches: Sequence[MicroBatch], stop: StopRequest
) -> Agreement:
    """Exchange counts and requests for the next step with all ranks.

    Raises:
        UserError: a newer attempt owns the run.
    """
    agreed = agree(
        settings.step,
        micro_batches,
        len(run.dataset.sources),
        run.device,
        # When a checkpoint could not be written, all ranks end together: the next save raises its error.
        stop=stop.requested or run.checkpointer.failed(),
        # The check reads a shared disk, so only one rank makes it, once per step.
        superseded=run.rank == 0 and run.checkpointer.superseded(),
    )
    if agreed.superseded:
        raise UserError(
            f"{run.config.run_dir}: this attempt was superseded by a newer start of the run and exits without writing"
        )
    return agreed


def update(run: Run, settings: StepSettings, agreed: Agreement, micro_batches: Sequence[MicroBatch]) -> torch.Tensor:
    """One optimizer step; returns this rank's [sum of losses, correct predictions], fp64 (2,)."""
    totals = accumulate(run.engine, micro_batches, agreed.masked, run.config.seed)
    set_learning_rate(run.engine, settings.lr)
    run.engine.step()
    return totals


def validate(run: Run, step: int, metrics: MetricsWriter | None) -> float | None:
    """The validation loss after `step` steps, averaged over sources; None if they hold too little text to mask."""
    assert run.validation is not None
    scores = list(evaluate(run.engine, run.validation, run.config.validation.packs, step))
    if metrics is not None:
        metrics.write_validation(scores)
    return fmean(score.loss for score in scores) if scores else None
