"""The metrics of one step, collected from all ranks."""

import time
from collections.abc import Sequence

import torch
import torch.distributed as dist

from ..streaming_data.loader.batches import MicroBatch
from ..streaming_data.loader.mix import plan_mix
from .checkpoint.progress import Progress
from .metrics.writer import MixMetrics, StepMetrics
from .objective import digest
from .planning.flops import step_flops
from .planning.hardware import device_name, peak_flops, peak_memory
from .recipe.schedule import StepSettings
from .resilience.skips import order_offset
from .resilience.step_agreement import Agreement
from .run import Run
from .zero.loss_scaling import gradient_norm, loss_scale


class Timer:
    """Measures the seconds of one step, and how many of them were spent waiting for data."""

    def __init__(self) -> None:
        self._started = time.perf_counter()
        self.data_wait = 0.0

    def data_arrived(self, *_: object) -> None:
        """The data is there; also the callback of its future."""
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
    """The metrics of the step that led to `progress`, the same on all ranks. Every rank calls it.

    Args:
        totals: this rank's [sum of losses, correct predictions].
    """
    rank_flops = step_flops(run.engine.module.config, micro_batches)
    loss_sum, correct, data_digest, flops = sum_over_ranks(totals, digest(micro_batches), rank_flops)
    seconds = timer.seconds()
    peak = peak_flops(device_name(run.device), run.config.engine.precision)
    return StepMetrics(
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
        data_digest=f"{data_digest:x}",
    )


def measure_mix(run: Run, progress: Progress) -> list[MixMetrics]:
    """Each source's share of the tokens counted so far, next to its planned share."""
    planned = plan_mix(run.dataset, order_offset(run.checkpointer.skips, progress.packs))
    return [
        MixMetrics(
            step=progress.step,
            source=mix.source,
            tokens=progress.source_tokens[mix.source],
            share=progress.source_tokens[mix.source] / progress.tokens,
            planned=mix.share,
        )
        for mix in planned
    ]


def sum_over_ranks(totals: torch.Tensor, rank_digest: int, rank_flops: int) -> tuple[float, int, int, float]:
    """(sum of losses, correct predictions, data digest, FLOPs) over all ranks."""
    sums = torch.cat([totals, totals.new_tensor([rank_digest, rank_flops])])
    dist.all_reduce(sums)
    loss_sum, correct, data_digest, flops = sums.tolist()
    return loss_sum, int(correct), int(data_digest), flops
