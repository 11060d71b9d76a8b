"""The training run, from its configuration to its last checkpoint."""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from statistics import fmean

import torch

from ..configs.errors import UserError
from ..storage.background import Background
from .checkpoint.progress import Progress
from .copies import StagedMicroBatch
from .delayed_rows import DelayedRows
from .measure import Timer, measure
from .memory_check import check_memory
from .metrics.writer import MetricsWriter
from .objective import accumulate
from .pace import Pace
from .recipe.config import RunConfig
from .recipe.schedule import StepSettings
from .resilience.exit_codes import STOPPED
from .resilience.heartbeat import Heartbeat
from .resilience.signals import StopRequest
from .resilience.step_agreement import Agreement, DataFailedError, agree
from .resilience.watchdog import Watchdog
from .run import Run, directory_check, open_batches, open_metrics, open_run
from .start_up import StartUp
from .validation import evaluate, held_out_batches
from .zero.engine import set_learning_rate
from .zero.loss_scaling import loss_scale, record_step
from .zero.running_average import running_average

logger = logging.getLogger(__name__)


def train(config: RunConfig, stop: StopRequest, heartbeat: Heartbeat) -> int:
    """Train, or continue from the newest checkpoint in `run_dir`. Every rank calls it.

    Args:
        heartbeat: shows where this rank is.
    Returns:
        The exit code: 0 if the run is complete, 85 if it was requested to stop and should be started again.
    Raises:
        RewoundError: the loss spiked, or too many steps were not finite; the next attempt continues from the last
            checkpoint and leaves out the packs that were read since.
        StartInterrupted: a stop was requested while the run was waiting for something before its first step.
        UserError: the configuration, the data, the store or the checkpoints do not allow training.
    """
    start_up = StartUp()
    watchdog = Watchdog(heartbeat, config)
    with stop.during_start():
        run = open_run(config, watchdog)
        start_up.completed("engine")
        progress = run.checkpointer.resume(run.plan)
        start_up.completed("checkpoint")
        metrics = open_metrics(run, progress)
    logger.info(start_up.line())
    with run.checkpointer, DelayedRows(run, metrics, saved=progress) as rows, watchdog.patient_with_errors():
        return train_from(run, progress, rows, stop)


def train_from(run: Run, progress: Progress, rows: DelayedRows, stop: StopRequest) -> int:
    """Train an open run from `progress` on; see `train`."""
    config = run.config
    if progress.step == run.plan.steps:
        logger.info(f"complete: all {progress.step:,} steps are done; raise schedule.total_tokens to train further")
    if config.memory_check or (config.memory_check is None and run.device.type == "cuda"):
        check_memory(run.engine, run.plan, progress.step)

    batches, lost = open_batches(run, progress.step), directory_check(run)
    pace = Pace(run.engine.zero_optimization_stage(), run.device)
    try:
        for settings in run.plan.from_step(progress.step):
            run.watchdog.step(settings)
            run.profiler.before(settings.step + 1)
            timer = Timer()
            data = next(batches)
            data.add_done_callback(timer.data_arrived)
            agreed = agree_on_step(run, settings.step, data, len(run.dataset.sources), stop, lost, pace.totals())
            if agreed.stop:
                run.watchdog.enter("checkpoint", patiently=True)
                rows.settle()
                if progress != rows.saved:
                    run.checkpointer.save(progress)
                break

            micro_batches = data.result()
            totals = update(run, settings, agreed, micro_batches, pace)
            pace.end_step(timer.data_wait, micro_batches)
            run.watchdog.enter("metrics")
            rows.settle()  # of the step before, whose values have arrived by now
            progress = progress.after(settings.packs, dict(zip(run.dataset.sources, agreed.source_tokens, strict=True)))
            run.profiler.after(progress.step)
            rewind_because = count_skipped(run, settings)

            if run.due(config.metrics.every_steps, progress.step):
                rows.add(measure(run, settings, progress, agreed, totals, micro_batches, timer))
            if rewind_because:
                rows.settle()
                rows.rewind(progress, rewind_because)
            validation_loss = None
            if run.due(config.validation.every_steps, progress.step):
                rows.settle()
                run.watchdog.enter("validation", patiently=True)
                validation_loss = validate(run, progress.step, rows.metrics, stop, lost)
            if run.due(config.checkpoint.every_steps, progress.step):
                rows.settle()
                run.watchdog.enter("checkpoint", patiently=True)
                run.checkpointer.save(progress, validation_loss)
                rows.saved = progress
    except DataFailedError as failure:
        run.watchdog.enter("checkpoint", patiently=True)
        rows.settle()
        if progress != rows.saved:
            save_before_error(run, progress)
        raise failure.error from None
    run.checkpointer.wait()
    run.watchdog.end()
    run.checkpointer.close()
    rows.close()
    return 0 if progress.step == run.plan.steps else STOPPED


def agree_on_step(
    run: Run,
    step: int,
    data: "Future[list[StagedMicroBatch]]",
    sources: int,
    stop: StopRequest,
    lost: Callable[[], bool],
    own: Sequence[int] = (),
) -> Agreement:
    """Wait for data together with all ranks, and exchange counts and requests for the next step.

    Raises:
        DataFailedError: some rank could not prepare its data.
        UserError: a newer attempt owns the run, or its directory was moved or removed.
    """
    agreed = agree(
        step,
        data,
        sources,
        run.hosts,
        # When a checkpoint could not be written, all ranks end together: the next save raises its error.
        stop=lambda: stop.requested or run.checkpointer.failed(),
        # These checks read a shared disk, so only one rank makes them, once per step.
        superseded=lambda: run.rank == 0 and run.checkpointer.superseded(),
        lost=lost,
        exchanged=run.watchdog.exchanged,
        own=own,
    )
    if agreed.superseded:
        raise UserError(
            f"{run.config.run_dir}: this attempt was superseded by a newer start of the run and exits without writing"
        )
    if agreed.lost:
        raise UserError(
            f"{run.config.run_dir}: the run's directory was moved, removed or replaced while the run was writing to "
            "it; nothing more is written. Move it back and start again, or start from where it is now with run_dir=..."
        )
    return agreed


def save_before_error(run: Run, progress: Progress) -> None:
    """Save the healthy weights before the run ends with an error. If that fails too, it does not hide the error."""
    try:
        run.checkpointer.save(progress)
        run.checkpointer.close()
    except Exception as problem:
        logger.warning(f"the steps since the last checkpoint are lost: {problem}")


def count_skipped(run: Run, settings: StepSettings) -> str | None:
    """Log the last step if it was skipped; returns a reason to rewind if too many steps were."""
    limit, window = run.config.engine.max_skipped_steps, run.config.engine.skip_window
    skipped, recent = record_step(run.engine, settings.step + 1, window)
    if not skipped:
        return None
    scale = f", loss scale {loss_scale(run.engine):,.0f}" if run.config.engine.precision == "fp16" else ""
    logger.warning(f"{run.describe_step(settings)} skipped: its loss or gradients are not finite{scale}")
    if recent <= limit:
        return None
    return f"{run.describe_step(settings)}: {recent} of the last {window} steps were not finite"


def update(
    run: Run, settings: StepSettings, agreed: Agreement, micro_batches: Sequence[StagedMicroBatch], pace: Pace
) -> torch.Tensor:
    """One optimizer step; returns this rank's [sum of losses, correct predictions], fp64 (2,)."""
    run.watchdog.enter("forward and backward")
    with pace.computing():
        totals = accumulate(run.engine, micro_batches, agreed.masked, run.config.seed, pace.forward)
    run.watchdog.enter("optimizer")
    set_learning_rate(run.engine, settings.lr)
    run.engine.step()
    if average := running_average(run.engine):
        average.update(settings.step)
    return totals


def validate(
    run: Run, step: int, metrics: MetricsWriter | None, stop: StopRequest, lost: Callable[[], bool]
) -> float | None:
    """The validation loss of masked tokens after `step` steps, averaged over sources; None if they hold too little
    text to mask, or if a stop was requested before all ranks had their packs.

    Raises:
        DataFailedError: some rank could not read its packs.
    """
    assert run.validation is not None
    packs, reading = run.config.validation.packs, Background("validation")
    causal = any(stage.objective == "causal" for stage in run.config.schedule.objectives)
    data = reading.submit(held_out_batches, run.validation, packs, run.device, causal)
    reading.close()
    if agree_on_step(run, step, data, len(run.validation.sources), stop, lost).stop:
        return None
    batches = data.result()
    scores = list(evaluate(run.engine, run.validation, packs, step, batches, causal))
    if metrics is not None:
        metrics.write_validation(scores)
    if average := running_average(run.engine):
        with average.in_the_model():
            of_average = list(evaluate(run.engine, run.validation, packs, step, batches, causal))
        if metrics is not None:
            metrics.write_validation(of_average, of_average=True)
    return fmean(score.loss for score in scores) if scores else None
