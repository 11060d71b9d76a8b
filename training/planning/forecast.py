"""What a run will take, from its recipe and the name of a GPU: nothing is measured, and nothing but arithmetic runs.

FLOPs, bytes and steps follow from the recipe. Speed does not: it is given as the range of model FLOPs utilisation that
ModernBERT's own code reached on H100s, as published, and holds as far as this code reaches that too.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ...model.config import ModelConfig
from ..recipe.config import EngineConfig, impossible
from ..recipe.schedule import Plan, StepSettings
from .communication import exchange
from .flops import flops
from .hardware import Gpu
from .memory import Activations, States, activations, optimizer_step, states

PUBLISHED_MFU = (0.25, 0.35)
"""Of ModernBERT and Ettin, bf16 on H100 (arXiv 2412.13663 and 2507.11412, tokens a second derived from the published
hours): base at 1,024 tokens 304k a GPU, 25 %; at 8,192 218k, 30 %; large 139k, 32 %, and 108k, 35 %; Ettin's 150M 295k,
25 %, and 400M 146k, 34 %. FLOPs as in `flops.py`, every sequence as long as allowed."""
USABLE = 0.9
"""Of a device's memory; the rest is left to CUDA, NCCL and gaps between tensors."""
_SMALL = 50_000_000
CHECKPOINT_BYTES = 12
"""A parameter: its weight and two moments, in fp32."""


@dataclass(frozen=True)
class Phase:
    """Steps with sequences up to one length.

    Attributes:
        flops: of all its steps.
        tokens_per_second: of all ranks, at the two ends of the published range.
        days: at these ends.
    """

    max_seqlen: int
    steps: int
    tokens: int
    flops: float
    tokens_per_second: tuple[float, float]
    days: tuple[float, float]


@dataclass(frozen=True)
class Option:
    """The run at one ZeRO stage, on one rank.

    Attributes:
        refused: why it cannot be; then all else is empty.
        peak: bytes at the most, with the recipe's micro-batch.
        fits: whether these are there.
        largest_micro_batch_size: that fit, of those that divide the batch; 0: none.
        sent: bytes that a rank sends in a step of the largest batch.
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
    """All of it; `cost` is of all GPUs, in the unit of the price, at the two ends of the range."""

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


def forecast(model: ModelConfig, plan: Plan, gpu: Gpu, price: float | None = None) -> Forecast:
    """Of the whole run on `plan.world_size` GPUs; `price` is of one GPU for an hour."""
    phases = tuple(_phases(model, plan, gpu))
    days = (sum(phase.days[0] for phase in phases), sum(phase.days[1] for phase in phases))
    hourly = None if price is None else price * plan.world_size
    return Forecast(
        gpu=gpu,
        ranks=plan.world_size,
        parameters=model.num_parameters,
        checkpoint=CHECKPOINT_BYTES * model.num_parameters,
        tokens_per_step=plan.config.batch.global_batch_size * plan.config.data.seq_length,
        phases=phases,
        options=tuple(_option(model, plan, gpu, stage, again) for stage in range(4) for again in (False, True)),
        flops=sum(phase.flops for phase in phases),
        days=days,
        cost=None if hourly is None else (24 * days[0] * hourly, 24 * days[1] * hourly),
    )


def _phases(model: ModelConfig, plan: Plan, gpu: Gpu) -> Iterator[Phase]:
    peak = gpu.peak * plan.world_size
    work: dict[int, tuple[int, int, float]] = {}
    for settings, steps, rate in _stretches(plan):
        done = work.get(settings.max_seqlen, (0, 0, 0.0))
        tokens = settings.packs * plan.config.data.seq_length
        step_flops = settings.packs * _pack_flops(model, plan.config.data.seq_length, settings.max_seqlen, rate)
        work[settings.max_seqlen] = (done[0] + steps, done[1] + steps * tokens, done[2] + steps * step_flops)
    for max_seqlen, (steps, tokens, total) in work.items():
        slow, fast = (total / (peak * mfu) for mfu in PUBLISHED_MFU)
        yield Phase(max_seqlen, steps, tokens, total, (tokens / slow, tokens / fast), (slow / 86400, fast / 86400))


def _stretches(plan: Plan) -> Iterator[tuple[StepSettings, int, float]]:
    """(settings, steps, mean masking rate) of steps in which nothing turns."""
    turns = [settings.step for settings in plan.turns()]
    for begin, end in pairwise(sorted({*turns, plan.steps})):
        first, last = plan.settings(begin), plan.settings(end - 1)
        yield first, end - begin, (first.mlm_probability + last.mlm_probability) / 2


def _pack_flops(model: ModelConfig, seq_length: int, max_seqlen: int, rate: float) -> int:
    whole, rest = divmod(seq_length, max_seqlen)
    lengths = np.array([max_seqlen] * whole + [rest] * (rest > 0), np.int64)
    return flops(model, lengths, round(rate * seq_length))


def _option(model: ModelConfig, plan: Plan, gpu: Gpu, stage: int, again: bool) -> Option:
    config, ranks = plan.config, plan.world_size
    changes = {"zero_stage": stage, "activation_checkpointing": again}
    if stage < 3:
        changes["zero_hpz_partition_size"] = 1
    engine = config.engine.model_copy(update=changes)
    if refused := impossible(engine):
        return Option(stage, again, refused)
    peak = _peak(model, plan, engine, config.batch.micro_batch_size)
    usable = USABLE * gpu.memory
    fitting = [packs for packs in micro_batches(plan) if _peak(model, plan, engine, packs) <= usable]
    return Option(
        zero_stage=stage,
        activation_checkpointing=again,
        states=states(model, engine, ranks),
        activations=_activations(model, plan, engine, config.batch.micro_batch_size),
        peak=peak,
        fits=peak <= usable,
        largest_micro_batch_size=max(fitting, default=0),
        sent=exchange(model, engine, config.batch.global_batch_size // (config.batch.micro_batch_size * ranks)).sent(
            ranks
        ),
    )


def micro_batches(plan: Plan) -> list[int]:
    """Values of `batch.micro_batch_size` with which the ranks can share every step evenly."""
    steps = {stretch.packs for stretch in plan.stretches}
    return [
        packs
        for packs in range(1, min(steps) // plan.world_size + 1)
        if all(step % (packs * plan.world_size) == 0 for step in steps)
    ]


def _peak(model: ModelConfig, plan: Plan, engine: EngineConfig, micro_batch_size: int) -> float:
    computing = _activations(model, plan, engine, micro_batch_size).device
    updating = optimizer_step(model, engine, plan.world_size)
    return states(model, engine, plan.world_size).device + max(computing, updating)


def _activations(model: ModelConfig, plan: Plan, engine: EngineConfig, micro_batch_size: int) -> Activations:
    seq_length = plan.config.data.seq_length
    rate = max(settings.mlm_probability for settings in plan.turns())
    return activations(model, engine, micro_batch_size * seq_length, micro_batch_size * round(rate * seq_length))


def advice(found: Forecast, plan: Plan) -> Iterator[str]:
    """What to change, and why, a sentence each."""
    engine, micro = plan.config.engine, plan.config.batch.micro_batch_size
    possible = [option for option in found.options if option.states]
    chosen = next(o for o in possible if (o.zero_stage, o.activation_checkpointing) == _of(engine))
    if not chosen.fits:
        if fitting := chosen.largest_micro_batch_size:
            yield f"This does not fit: set batch.micro_batch_size={fitting}, which changes only rounding."
        else:
            yield "This does not fit at any micro-batch: use more ranks, or engine.activation_checkpointing=true."
    elif chosen.largest_micro_batch_size > micro:
        larger = chosen.largest_micro_batch_size
        yield f"Up to batch.micro_batch_size={larger} fits: fewer, larger kernels, and only rounding differs."
    without = next(o for o in possible if (o.zero_stage, o.activation_checkpointing) == (chosen.zero_stage, False))
    if chosen.activation_checkpointing and without.fits:
        yield "engine.activation_checkpointing=false fits too, and saves computing each layer twice."
    if found.parameters < _SMALL:
        yield "The range of speeds is that of 150M and 400M parameters: so small a model uses a GPU far less well."
    yield from _about_stages(found, chosen, possible)
    for stage, reason in {option.zero_stage: option.refused for option in found.options if option.refused}.items():
        yield f"Stage {stage} is refused: {reason}."


def _of(engine: EngineConfig) -> tuple[int, bool]:
    return engine.zero_stage, engine.activation_checkpointing


def _about_stages(found: Forecast, chosen: Option, possible: list[Option]) -> Iterator[str]:
    fitting = [o for o in possible if o.fits and o.activation_checkpointing == chosen.activation_checkpointing]
    if found.ranks == 1 or not fitting:
        return
    best = min(fitting, key=lambda option: (option.sent, option.zero_stage))
    fastest = min(found.phases, key=lambda phase: phase.flops / phase.tokens)
    step_seconds = found.tokens_per_step / fastest.tokens_per_second[1]
    if best.zero_stage == chosen.zero_stage:
        yield f"engine.zero_stage={best.zero_stage} sends least of the stages that fit."
    else:
        yield (
            f"engine.zero_stage={best.zero_stage} should be fastest: the model fits without dividing more, and a rank "
            f"sends {best.sent / 1e9:.2f} GB a step, not {chosen.sent / 1e9:.2f}. The training is the same."
        )
    yield (
        f"At the fast end a step of {fastest.max_seqlen:,}-token sequences takes {step_seconds:.2f} s: to stay hidden, "
        f"stage {chosen.zero_stage} needs {chosen.sent / step_seconds / 1e9:.1f} GB/s from and to each GPU."
    )
