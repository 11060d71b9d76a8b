"""The metrics of one step, collected from all ranks."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from ..streaming_data.loader.batches import MicroBatch
from ..streaming_data.loader.mix import plan_mix
from .checkpoint.progress import Progress
from .copies import HostCopy
from .metrics.stragglers import RankTotals
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


@dataclass(frozen=True)
class Measurement:
    """The metrics of one step, of which some may still be on their way from the device.

    Attributes:
        progress: after the step.
        values: what `_sums` returns.
        peak_flops: what all devices could do in the time of the step; None if their peak is not known.
        known: the other metrics, which are known on the host.
        ranks: what each of them has done before the step.
    """

    progress: Progress
    values: HostCopy
    peak_flops: float | None
    known: dict[str, Any]
    ranks: Sequence[RankTotals]

    def arrived(self) -> bool:
        """Whether `row` would not wait for the device."""
        return self.values.arrived()

    def row(self) -> StepMetrics:
        """The row of metrics.csv, the same on all ranks."""
        loss_sum, correct, data_digest, flops, grad_norm = self.values.read()
        masked = self.known["masked"]
        return StepMetrics(
            loss=loss_sum / masked,
            accuracy=int(correct) / masked,
            grad_norm=grad_norm,
            flops=flops,
            mfu=flops / self.peak_flops if self.peak_flops else None,
            data_digest=f"{int(data_digest):x}",
            **self.known,
        )


def measure(
    run: Run,
    settings: StepSettings,
    progress: Progress,
    agreed: Agreement,
    totals: torch.Tensor,
    micro_batches: Sequence[MicroBatch],
    timer: Timer,
) -> Measurement:
    """Measure the step that led to `progress`, without waiting for the device. Every rank calls it.

    Args:
        totals: this rank's [sum of losses, correct predictions].
    """
    rank_flops = step_flops(run.engine.module.config, micro_batches)
    values = HostCopy(_sums(totals, digest(micro_batches), rank_flops, gradient_norm(run.engine)))
    seconds = timer.seconds()
    peak = peak_flops(device_name(run.device), run.config.engine.precision)
    known = {
        "step": progress.step,
        "tokens": progress.tokens,
        "lr": settings.lr,
        "mlm_probability": settings.mlm_probability if settings.objective == "masked" else 0.0,
        "objective": settings.objective,
        "max_seqlen": settings.max_seqlen,
        "masked": agreed.masked,
        "tokens_per_second": sum(agreed.source_tokens) / seconds,
        "data_wait": timer.data_wait,
        "data_wait_share": timer.data_wait / seconds,
        "peak_memory": peak_memory(run.device),
        "loss_scale": loss_scale(run.engine),
        "skipped_steps": run.engine.skipped_steps,
    }
    ranks = [RankTotals(*own) for own in agreed.own]
    return Measurement(progress, values, peak * run.plan.world_size * seconds if peak else None, known, ranks)


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


def _sums(totals: torch.Tensor, rank_digest: int, rank_flops: int, grad_norm: torch.Tensor | float) -> torch.Tensor:
    """[sum of losses, correct predictions, data digest, FLOPs] over all ranks, and the norm, fp64 (5,)."""
    # Filled on the device: a tensor made of numbers would be copied there from memory that is not pinned.
    sums = torch.cat([totals, *(totals.new_full((1,), number) for number in (rank_digest, rank_flops))])
    dist.all_reduce(sums)
    if isinstance(grad_norm, float) or grad_norm.device != sums.device:
        grad_norm = sums.new_full((), float(grad_norm))
    return torch.cat([sums, grad_norm.double().view(1)])
