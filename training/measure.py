"""The numbers of one step, put together from all ranks."""

import time
from collections.abc import Sequence

import torch
import torch.distributed as dist

from ..streaming_data.loader.batches import MicroBatch
from ..streaming_data.loader.mix import plan_mix
from .metrics.writer import MixMetrics, StepMetrics
from .objective import digest
from .planning.flops import step_flops
from .planning.hardware import device_name, peak_flops, peak_memory
from .progress import Progress
from .recipe.schedule import StepSettings
from .resilience.lockstep import Agreement
from .resilience.spikes import place
from .run import Run
from .zero.loss_scaling import gradient_norm, loss_scale


class Timer:
    """Seconds of one step, and how many of them were spent waiting for data."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self.data_wait = 0.0

    def data_is_here(self) -> None:
        self.data_wait = self.seconds()

    def seconds(self) -> float:
        return time.perf_counter() - self._started


def measure(
    run: Run,
    settings: StepSettings,
    progress: Progress,
    agreed: Agreement,
    totals: torch.Tensor,
    micro_batches: Sequence[MicroBatch],
    timer: Timer,
) -> StepMetrics:
    """The row of the step that led to `progress`; every rank calls it, rank 0 writes it down.

    Args:
        totals: this rank's [sum of losses, correct predictions].
    """
    work = step_flops(run.engine.module.config, micro_batches)
    loss_sum, correct, digests, flops = summed(totals, digest(micro_batches), work)
    seconds = timer.seconds()
    peak = peak_flops(device_name(run.device), run.config.engine.precision)
    row = StepMetrics(
        step=progress.step,
        tokens=progress.tokens,
        loss=loss_sum / agreed.masked,
        accuracy=correct / agreed.masked,
        grad_norm=gradient_norm(run.engine),
        lr=settings.lr,
        mlm_probability=settings.mlm_probability,
        max_seqlen=settings.max_seqlen,
        masked=agreed.masked,
        tokens_per_second=sum(agreed.source_tokens) / seconds,
        flops=flops,
        mfu=flops / seconds / (peak * run.plan.world_size) if peak else None,
        data_wait=timer.data_wait,
        data_wait_share=timer.data_wait / seconds,
        peak_memory=peak_memory(run.device),
        loss_scale=loss_scale(run.engine),
        skipped_steps=run.engine.skipped_steps,
        data_digest=f"{digests:x}",
    )
    if run.metrics is not None:
        run.metrics.write(row)
        run.metrics.write_mix(mix_metrics(run, progress))
    return row


def mix_metrics(run: Run, progress: Progress) -> list[MixMetrics]:
    """The rows of one step: what was counted, beside what was planned."""
    planned = plan_mix(run.dataset, place(run.skips, progress.packs))
    return [
        MixMetrics(
            step=progress.step,
            source=part.source,
            tokens=progress.source_tokens[part.source],
            share=progress.source_tokens[part.source] / progress.tokens,
            planned=part.share,
        )
        for part in planned
    ]


def summed(totals: torch.Tensor, digest_of_rank: int, flops: int) -> tuple[float, int, int, float]:
    """(sum of losses, correct predictions, data digest, FLOPs) over all ranks."""
    everything = torch.cat([totals, totals.new_tensor([digest_of_rank, flops])])
    dist.all_reduce(everything)
    loss_sum, correct, digests, flops_of_all = everything.tolist()
    return loss_sum, int(correct), int(digests), flops_of_all
