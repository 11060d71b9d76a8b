"""Forecast of a run's memory, communication, time and cost, computed from its recipe and a GPU's data sheet.

Nothing is measured. FLOPs, bytes and steps follow from the recipe. Speed is the roofline's (`roofline.py`): expected,
at assumed shares of the device's bandwidth and peak, and the floor, which no implementation of these operations
exceeds.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ...model.config import ModelConfig
from ...streaming_data.loader.config import Objective
from ..recipe.engine_config import EngineConfig, unsupported_reason
from ..recipe.schedule import Plan, StepSettings
from .communication import exchange
from .flops import flops
from .devices import Gpu
from .memory import (
    Activations,
    HostMemory,
    States,
    checkpoint_bytes,
    host_memory,
    peak,
    planned_activations,
    planned_states,
)
from .roofline import roofline, times
from .stage import USABLE, at_stage, choose_stage


@dataclass(frozen=True)
class Phase:
    """All steps with the same maximum sequence length and objective.

    Attributes:
        flops: of all these steps.
        tokens_per_second: over all ranks, expected and at the floor.
        days: duration, expected and at the floor.
    """

    max_seqlen: int
    steps: int
    tokens: int
    flops: float
    tokens_per_second: tuple[float, float]
    days: tuple[float, float]
    objective: Objective = "masked"


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
    """The forecast of a run; `days` and `cost` (of all GPUs, in the price's unit) are expected and at the floor."""

    gpu: Gpu
    ranks: int
    parameters: int
    checkpoint: int
    host: HostMemory
    zero_stage: int
    reason: str
    tokens_per_step: int
    phases: tuple[Phase, ...]
    options: tuple[Option, ...]
    flops: float
    days: tuple[float, float]
    cost: tuple[float, float] | None


def forecast(
    model: ModelConfig, engine: EngineConfig, plan: Plan, gpu: Gpu, price: float | None = None, nodes: int = 1
) -> Forecast:
    """Forecast the run `plan` on `plan.world_size` GPUs of `nodes` nodes; `price` is per GPU and hour."""
    chosen = choose_stage(model, engine, plan, gpu.memory, nodes)
    phases = tuple(_phases(model, chosen.engine, plan, gpu))
    days = (sum(phase.days[0] for phase in phases), sum(phase.days[1] for phase in phases))
    hourly = None if price is None else price * plan.world_size
    return Forecast(
        gpu=gpu,
        ranks=plan.world_size,
        parameters=model.num_parameters,
        checkpoint=checkpoint_bytes(model, plan.optimizer, plan.running_average),
        host=host_memory(model, chosen.engine, plan),
        zero_stage=chosen.engine.stage,
        reason=chosen.reason,
        tokens_per_step=plan.batch.global_batch_size * plan.data.seq_length,
        phases=phases,
        options=tuple(
            _option(model, _layers(engine, checkpointing), stage, plan, gpu)
            for stage in range(4)
            for checkpointing in (False, True)
        ),
        flops=sum(phase.flops for phase in phases),
        days=days,
        cost=None if hourly is None else (24 * days[0] * hourly, 24 * days[1] * hourly),
    )


def planned_flops(model: ModelConfig, plan: Plan) -> float:
    """FLOPs of all steps of a run, as `Forecast.flops`, whatever the device."""
    total = 0.0
    for settings, steps, rate in _uniform_steps(plan):
        lengths, causal = _pack_lengths(plan.data.seq_length, settings.max_seqlen), settings.objective == "causal"
        share = _next_tokens(lengths) if causal else rate
        total += steps * settings.packs * _pack_flops(model, lengths, share, causal)
    return total


def _phases(model: ModelConfig, engine: EngineConfig, plan: Plan, gpu: Gpu) -> Iterator[Phase]:
    shapes: dict[tuple[int, Objective], list[tuple[int, int, float]]] = {}
    for settings, steps, rate in _uniform_steps(plan):
        shapes.setdefault((settings.max_seqlen, settings.objective), []).append((steps, settings.packs, rate))
    for (max_seqlen, objective), parts in shapes.items():
        lengths, causal = _pack_lengths(plan.data.seq_length, max_seqlen), objective == "causal"
        if causal:
            parts = [(steps, packs, _next_tokens(lengths)) for steps, packs, _ in parts]
        steps, packs = sum(steps for steps, _, _ in parts), sum(steps * packs for steps, packs, _ in parts)
        rate = sum(steps * packs * rate for steps, packs, rate in parts) / packs
        work = sum(steps * packs * _pack_flops(model, lengths, rate, causal) for steps, packs, rate in parts)
        tokens = packs * plan.data.seq_length
        slow, fast = _seconds(model, engine, plan, gpu, lengths, rate, packs, steps, causal)
        speeds, days = (tokens / slow, tokens / fast), (slow / 86400, fast / 86400)
        yield Phase(max_seqlen, steps, tokens, work, speeds, days, objective)


def _seconds(
    model: ModelConfig,
    engine: EngineConfig,
    plan: Plan,
    gpu: Gpu,
    lengths: list[int],
    rate: float,
    packs: int,
    steps: int,
    causal: bool,
) -> tuple[float, float]:
    """Seconds of `packs` packs in `steps` steps, expected and at the floor; `rate` is the share of predicted tokens."""
    size = plan.batch.micro_batch_size
    masked = round(rate * size * plan.data.seq_length)
    operations = roofline(model, engine, lengths * size, masked, gpu, plan.world_size, False, plan.optimizer, causal)
    one = times(model, engine, operations)
    micro_batches = packs / (size * plan.world_size)
    floor = micro_batches * one.floor + steps * one.update[0]
    return micro_batches * max(one.expected, one.host) + steps * one.update[1], floor


def _uniform_steps(plan: Plan) -> Iterator[tuple[StepSettings, int, float]]:
    """(settings of the first, number of steps, mean masking rate) of the steps between change points."""
    starts = [settings.step for settings in plan.change_points()]
    for begin, end in pairwise(sorted({*starts, plan.steps})):
        first, last = plan.settings(begin), plan.settings(end - 1)
        yield first, end - begin, (first.mlm_probability + last.mlm_probability) / 2


def _pack_lengths(seq_length: int, max_seqlen: int) -> list[int]:
    full, rest = divmod(seq_length, max_seqlen)
    return [max_seqlen] * full + [rest] * (rest > 0)


def _next_tokens(lengths: list[int]) -> float:
    """The share of tokens that have a next one."""
    return 1 - len(lengths) / sum(lengths)


def _pack_flops(model: ModelConfig, lengths: list[int], rate: float, causal: bool) -> int:
    return flops(model, np.array(lengths, np.int64), round(rate * sum(lengths)), causal)


def _layers(engine: EngineConfig, checkpointing: bool) -> EngineConfig:
    return engine.model_copy(update={"activation_checkpointing": checkpointing})


def _option(model: ModelConfig, recipe: EngineConfig, stage: int, plan: Plan, gpu: Gpu) -> Option:
    engine, least = (at_stage(model, recipe, stage, plan, memory) for memory in (gpu.memory, 0.0))
    ranks, batch = plan.world_size, plan.batch
    if reason := unsupported_reason(engine):
        return Option(engine.stage, engine.activation_checkpointing, reason)
    needed, usable = peak(model, engine, plan), USABLE * gpu.memory
    fitting = [packs for packs in micro_batches(plan) if peak(model, least, plan, packs) <= usable]
    accumulation_steps = batch.global_batch_size // (batch.micro_batch_size * ranks)
    return Option(
        zero_stage=engine.stage,
        activation_checkpointing=engine.activation_checkpointing,
        states=planned_states(model, engine, plan),
        activations=planned_activations(model, engine, plan),
        peak=needed,
        fits=needed <= usable,
        largest_micro_batch_size=max(fitting, default=0),
        sent=exchange(model, engine, accumulation_steps, plan.optimizer, ranks).sent(ranks),
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
    selected = (result.zero_stage, engine.activation_checkpointing)
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
    yield from _compare_stages(result, chosen, supported)
    for stage, reason in {option.zero_stage: option.refused for option in result.options if option.refused}.items():
        yield f"ZeRO stage {stage} is unsupported: {reason}."


def _compare_stages(result: Forecast, chosen: Option, supported: list[Option]) -> Iterator[str]:
    fitting = [o for o in supported if o.fits and o.activation_checkpointing == chosen.activation_checkpointing]
    if result.ranks == 1 or not fitting:
        return
    best = min(fitting, key=lambda option: (option.sent, option.zero_stage))
    fastest = min(result.phases, key=lambda phase: phase.flops / phase.tokens)
    step_seconds = result.tokens_per_step / fastest.tokens_per_second[0]
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
        f"Without the network a step of {fastest.max_seqlen:,}-token sequences is expected to take {step_seconds:.2f} "
        f"s; it becomes a tenth longer if each GPU sends and receives {10 * bandwidth:.1f} GB/s."
    )
