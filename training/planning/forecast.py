"""Forecast of a run's memory, communication, time and cost, computed from its recipe and a GPU's data sheet.

Nothing is measured. FLOPs, bytes and steps follow from the recipe. Speed does not: it is a range that assumes the model
FLOPs utilization (MFU) published for ModernBERT's own code on H100s.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ...model.config import ModelConfig
from ..recipe.config import EngineConfig, unsupported_reason
from ..recipe.schedule import Plan, StepSettings
from .communication import exchange
from .flops import flops
from .hardware import Gpu
from .memory import Activations, States, peak, planned_activations, states
from .stage import USABLE, at_stage

PUBLISHED_MFU = (0.25, 0.35)
"""Range of MFU of ModernBERT and Ettin, bf16 on H100 (arXiv 2412.13663 and 2507.11412).

Tokens per second and GPU, derived from the published hours, and the resulting MFU: ModernBERT-base 304k (25 %) at 1,024
tokens and 218k (30 %) at 8,192; ModernBERT-large 139k (32 %) and 108k (35 %); at 1,024 tokens Ettin 150M 295k (25 %)
and Ettin 400M 146k (34 %). FLOPs as in `flops.py`, with every sequence at its maximum length and, since their code
computes them, with all tokens in the last layer.
"""
_SMALL = 50_000_000
CHECKPOINT_BYTES = 12
"""Bytes per parameter: its weight and two moments, in fp32."""


@dataclass(frozen=True)
class Phase:
    """All steps with the same maximum sequence length.

    Attributes:
        flops: of all these steps.
        tokens_per_second: over all ranks, at the low and the high end of `PUBLISHED_MFU`.
        days: duration at the two ends.
    """

    max_seqlen: int
    steps: int
    tokens: int
    flops: float
    tokens_per_second: tuple[float, float]
    days: tuple[float, float]


@dataclass(frozen=True)
class Option:
    """The memory and communication of one rank at one ZeRO stage.

    Attributes:
        refused: why this stage is unsupported, in which case the other fields are empty.
        peak: peak bytes with the recipe's micro-batch size.
        fits: whether the peak fits in the device's memory.
        largest_micro_batch_size: the largest that fits and divides the batch evenly; 0: none.
        sent: bytes that a rank sends per step of the full batch.
    """

    zero_stage: int
    activation_checkpointing: bool
    refused: str | None = None
    states: States | None = None
    activations: Activations | None = None
    peak: float = 0.0
    fits: bool = False
    largest_micro_batch_size: int = 0
    sent: float = 0.0


@dataclass(frozen=True)
class Forecast:
    """The forecast of a run; `days` and `cost` (of all GPUs, in the price's unit) are at the two ends of the range."""

    gpu: Gpu
    ranks: int
    parameters: int
    checkpoint: int
    tokens_per_step: int
    phases: tuple[Phase, ...]
    options: tuple[Option, ...]
    flops: float
    days: tuple[float, float]
    cost: tuple[float, float] | None


def forecast(model: ModelConfig, engine: EngineConfig, plan: Plan, gpu: Gpu, price: float | None = None) -> Forecast:
    """Forecast the run `plan` on `plan.world_size` GPUs; `price` is per GPU and hour."""
    phases = tuple(_phases(model, plan, gpu))
    days = (sum(phase.days[0] for phase in phases), sum(phase.days[1] for phase in phases))
    hourly = None if price is None else price * plan.world_size
    return Forecast(
        gpu=gpu,
        ranks=plan.world_size,
        parameters=model.num_parameters,
        checkpoint=CHECKPOINT_BYTES * model.num_parameters,
        tokens_per_step=plan.batch.global_batch_size * plan.data.seq_length,
        phases=phases,
        options=tuple(
            _option(model, at_stage(model, _layers(engine, checkpointing), stage, plan, gpu.memory), plan, gpu)
            for stage in range(4)
            for checkpointing in (False, True)
        ),
        flops=sum(phase.flops for phase in phases),
        days=days,
        cost=None if hourly is None else (24 * days[0] * hourly, 24 * days[1] * hourly),
    )


def _phases(model: ModelConfig, plan: Plan, gpu: Gpu) -> Iterator[Phase]:
    peak = gpu.peak * plan.world_size
    work: dict[int, tuple[int, int, float]] = {}
    for settings, steps, rate in _uniform_steps(plan):
        total = work.get(settings.max_seqlen, (0, 0, 0.0))
        tokens = settings.packs * plan.data.seq_length
        step_flops = settings.packs * _pack_flops(model, plan.data.seq_length, settings.max_seqlen, rate)
        work[settings.max_seqlen] = (total[0] + steps, total[1] + steps * tokens, total[2] + steps * step_flops)
    for max_seqlen, (steps, tokens, work_flops) in work.items():
        slow, fast = (work_flops / (peak * mfu) for mfu in PUBLISHED_MFU)
        yield Phase(max_seqlen, steps, tokens, work_flops, (tokens / slow, tokens / fast), (slow / 86400, fast / 86400))


def _uniform_steps(plan: Plan) -> Iterator[tuple[StepSettings, int, float]]:
    """(settings of the first, number of steps, mean masking rate) of the steps between change points."""
    starts = [settings.step for settings in plan.change_points()]
    for begin, end in pairwise(sorted({*starts, plan.steps})):
        first, last = plan.settings(begin), plan.settings(end - 1)
        yield first, end - begin, (first.mlm_probability + last.mlm_probability) / 2


def _pack_flops(model: ModelConfig, seq_length: int, max_seqlen: int, rate: float) -> int:
    full, rest = divmod(seq_length, max_seqlen)
    lengths = np.array([max_seqlen] * full + [rest] * (rest > 0), np.int64)
    return flops(model, lengths, round(rate * seq_length))


def _layers(engine: EngineConfig, checkpointing: bool) -> EngineConfig:
    return engine.model_copy(update={"activation_checkpointing": checkpointing})


def _option(model: ModelConfig, engine: EngineConfig, plan: Plan, gpu: Gpu) -> Option:
    ranks, batch = plan.world_size, plan.batch
    if reason := unsupported_reason(engine):
        return Option(engine.stage, engine.activation_checkpointing, reason)
    needed, usable = peak(model, engine, plan), USABLE * gpu.memory
    fitting = [packs for packs in micro_batches(plan) if peak(model, engine, plan, packs) <= usable]
    accumulation_steps = batch.global_batch_size // (batch.micro_batch_size * ranks)
    return Option(
        zero_stage=engine.stage,
        activation_checkpointing=engine.activation_checkpointing,
        states=states(model, engine, ranks),
        activations=planned_activations(model, engine, plan),
        peak=needed,
        fits=needed <= usable,
        largest_micro_batch_size=max(fitting, default=0),
        sent=exchange(model, engine, accumulation_steps).sent(ranks),
    )


def micro_batches(plan: Plan) -> list[int]:
    """Values of `batch.micro_batch_size` that divide every step evenly among the ranks."""
    sizes = {phase.packs for phase in plan.batch_phases}
    return [
        packs
        for packs in range(1, min(sizes) // plan.world_size + 1)
        if all(size % (packs * plan.world_size) == 0 for size in sizes)
    ]


def advice(result: Forecast, engine: EngineConfig, micro_batch_size: int) -> Iterator[str]:
    """Yield recommended changes of the recipe with their reasons, one sentence each."""
    supported = [option for option in result.options if option.states]
    selected = (engine.stage, engine.activation_checkpointing)
    chosen = next(o for o in supported if (o.zero_stage, o.activation_checkpointing) == selected)
    if not chosen.fits:
        if fitting := chosen.largest_micro_batch_size:
            yield f"This does not fit: set batch.micro_batch_size={fitting}, which changes only rounding."
        else:
            yield "This does not fit at any micro-batch size: use more ranks, or engine.activation_checkpointing=true."
    elif chosen.largest_micro_batch_size > micro_batch_size:
        larger = chosen.largest_micro_batch_size
        yield f"batch.micro_batch_size={larger} fits too: it runs fewer, larger kernels, and only rounding differs."
    without = next(o for o in supported if (o.zero_stage, o.activation_checkpointing) == (chosen.zero_stage, False))
    if chosen.activation_checkpointing and without.fits:
        yield "engine.activation_checkpointing=false fits too, and avoids computing each layer twice."
    if result.parameters < _SMALL:
        yield "The speed range is that of models of 150M and 400M parameters; a model this small has a far lower MFU."
    yield from _compare_stages(result, chosen, supported)
    for stage, reason in {option.zero_stage: option.refused for option in result.options if option.refused}.items():
        yield f"ZeRO stage {stage} is unsupported: {reason}."


def _compare_stages(result: Forecast, chosen: Option, supported: list[Option]) -> Iterator[str]:
    fitting = [o for o in supported if o.fits and o.activation_checkpointing == chosen.activation_checkpointing]
    if result.ranks == 1 or not fitting:
        return
    best = min(fitting, key=lambda option: (option.sent, option.zero_stage))
    fastest = min(result.phases, key=lambda phase: phase.flops / phase.tokens)
    step_seconds = result.tokens_per_step / fastest.tokens_per_second[1]
    bandwidth = chosen.sent / step_seconds / 1e9
    if best.zero_stage == chosen.zero_stage:
        yield f"engine.zero_stage={best.zero_stage} sends the least data of the stages that fit."
    elif best.zero_stage > chosen.zero_stage:
        yield (
            f"engine.zero_stage={best.zero_stage} would send {best.sent / 1e9:.2f} GB per step instead of "
            f"{chosen.sent / 1e9:.2f}, at more CPU time per micro-batch: compare both on a slow network."
        )
    else:
        yield (
            f"engine.zero_stage={best.zero_stage} should be fastest: the model fits without more partitioning, and each"
            f" rank sends {best.sent / 1e9:.2f} GB per step instead of {chosen.sent / 1e9:.2f}. The loss is the same."
        )
    yield (
        f"At the fast end a step of {fastest.max_seqlen:,}-token sequences takes {step_seconds:.2f} s: to overlap "
        f"communication, stage {chosen.zero_stage} needs {bandwidth:.1f} GB/s to and from each GPU."
    )
