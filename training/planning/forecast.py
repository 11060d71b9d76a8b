"""Forecast of a run's memory, communication, time and cost, computed from its recipe and a GPU's data sheet.

Nothing is measured. FLOPs, bytes and steps follow from the recipe. Speed is the roofline's (`roofline.py`): expected,
at assumed shares of the device's bandwidth and peak, and the floor, which no implementation of these operations
exceeds. What many ranks add is in `step_time.py`, what saves and failures cost in `goodput.py`; the floor has neither.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ...model.config import ModelConfig
from ...streaming_data.loader.config import Objective
from ...streaming_data.loader.split import micro_batch_count, most_packs
from ..recipe.engine_config import EngineConfig, unsupported_reason
from ..recipe.schedule import Plan, StepSettings
from .communication import exchange, traffic
from .devices import Gpu
from .fabric import Deployment, Network, network_of
from .flops import flops
from .goodput import Goodput, goodput
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
from .roofline import Times, roofline, times
from .stage import USABLE, at_stage, choose_stage
from .step_time import SHARD_BYTES, StepTime, step_time


@dataclass(frozen=True)
class Phase:
    """All steps with the same maximum sequence length and objective.

    Attributes:
        flops: of all these steps.
        tokens_per_second: over all ranks, expected and at the floor.
        days: duration, expected and at the floor.
        step: the parts of a step, expected; None: for one device, without a network.
    """

    max_seqlen: int
    steps: int
    tokens: int
    flops: float
    tokens_per_second: tuple[float, float]
    days: tuple[float, float]
    objective: Objective = "masked"
    step: StepTime | None = None


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
    """The forecast of a run; `days` and `cost` (of all GPUs, in the price's unit) are expected and at the floor.

    Attributes:
        network, goodput: None: not planned; `days` are then those of the steps alone.
    """

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
    network: Network | None = None
    goodput: Goodput | None = None


def forecast(
    model: ModelConfig,
    engine: EngineConfig,
    plan: Plan,
    gpu: Gpu,
    price: float | None = None,
    deployment: Deployment | None = None,
) -> Forecast:
    """Forecast the run `plan` on `plan.world_size` GPUs.

    Args:
        price: per GPU and hour.
        deployment: None: every rank as if it were alone, without network, waiting for data, saves and failures.
    Raises:
        UserError: the deployment fails more often than it can recover.
    """
    chosen = choose_stage(model, engine, plan, gpu.memory, deployment.nodes if deployment else 1)
    phases = tuple(_phases(model, chosen.engine, plan, gpu, deployment))
    days = (sum(phase.days[0] for phase in phases), sum(phase.days[1] for phase in phases))
    kept, checkpoint = None, checkpoint_bytes(model, plan.optimizer, plan.running_average)
    if deployment is not None:
        step = 86400 * days[0] / sum(phase.steps for phase in phases)
        ranks, nodes, every = plan.world_size, deployment.nodes, deployment.save_every
        kept = goodput(step, every, checkpoint, ranks, nodes, deployment.hang(step), deployment.site)
        days = (days[0] / kept.share + kept.start / 86400, days[1])
    hourly = None if price is None else price * plan.world_size
    return Forecast(
        gpu=gpu,
        ranks=plan.world_size,
        parameters=model.num_parameters,
        checkpoint=checkpoint,
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
        network=_network(gpu, plan, deployment) if deployment else None,
        goodput=kept,
    )


def expected_days(
    model: ModelConfig,
    engine: EngineConfig,
    plan: Plan,
    gpu: Gpu,
    deployment: Deployment,
    batches: int = 1,
    by_nodes: bool = False,
) -> float:
    """Days of the steps alone, with the network.

    Args:
        engine: with a numbered stage.
        batches: so many of the plan's batches are one step.
        by_nodes: with a library that exchanges inside nodes first (collectives.py).
    """
    return sum(phase.days[0] for phase in _phases(model, engine, plan, gpu, deployment, batches, by_nodes))


def planned_flops(model: ModelConfig, plan: Plan) -> float:
    """FLOPs of all steps of a run, as `Forecast.flops`, whatever the device."""
    total = 0.0
    for settings, steps, rate in _uniform_steps(plan):
        lengths, causal = _pack_lengths(plan.data.seq_length, settings.max_seqlen), settings.objective == "causal"
        share = _next_tokens(lengths) if causal else rate
        total += steps * settings.packs * _pack_flops(model, lengths, share, causal)
    return total


def _phases(
    model: ModelConfig,
    engine: EngineConfig,
    plan: Plan,
    gpu: Gpu,
    deployment: Deployment | None,
    batches: int = 1,
    by_nodes: bool = False,
) -> Iterator[Phase]:
    shapes: dict[tuple[int, Objective], list[tuple[int, int, float]]] = {}
    for settings, steps, rate in _uniform_steps(plan):
        shapes.setdefault((settings.max_seqlen, settings.objective), []).append((steps, settings.packs, rate))
    for (max_seqlen, objective), parts in shapes.items():
        lengths, causal = _pack_lengths(plan.data.seq_length, max_seqlen), objective == "causal"
        if causal:
            parts = [(steps, packs, _next_tokens(lengths)) for steps, packs, _ in parts]
        steps, packs = sum(steps for steps, _, _ in parts), sum(steps * packs for steps, packs, _ in parts)
        of_slowest = sum(steps * most_packs(packs, plan.world_size) for steps, packs, _ in parts)
        rate = sum(steps * packs * rate for steps, packs, rate in parts) / packs
        work = sum(steps * packs * _pack_flops(model, lengths, rate, causal) for steps, packs, rate in parts)
        tokens = packs * plan.data.seq_length
        one = _times(model, engine, plan, gpu, lengths, rate, causal)
        steps = max(1, round(steps / batches))
        micro_batches = of_slowest / plan.batch.micro_batch_size / steps
        step = None
        slow = steps * (micro_batches * max(one.expected, one.host) + one.update[1])
        fast = steps * (micro_batches * one.floor + one.update[0])
        if deployment is not None:
            messages = traffic(model, engine, plan.optimizer, plan.world_size)
            network = _network(gpu, plan, deployment)
            per_step, site, share = tokens / steps, deployment.site, _downloaded(plan, deployment)
            step = step_time(model, engine, messages, one, micro_batches, per_step, network, site, by_nodes, share)
            slow = steps * step.total
        speeds, days = (tokens / slow, tokens / fast), (slow / 86400, fast / 86400)
        yield Phase(max_seqlen, steps, tokens, work, speeds, days, objective, step)


def _times(
    model: ModelConfig, engine: EngineConfig, plan: Plan, gpu: Gpu, lengths: list[int], rate: float, causal: bool
) -> Times:
    """Those of a micro-batch of packs of these lengths; `rate` is the share of predicted tokens."""
    size = plan.batch.micro_batch_size
    masked = round(rate * size * plan.data.seq_length)
    operations = roofline(model, engine, lengths * size, masked, gpu, plan.world_size, False, plan.optimizer, causal)
    return times(model, engine, operations)


def _downloaded(plan: Plan, deployment: Deployment) -> float:
    """The share of all downloads that remains if the cache of a node holds the data set: at most one for each node."""
    if not deployment.cached:
        return 1.0
    epochs = SHARD_BYTES * plan.packs * plan.data.seq_length / deployment.cached
    nodes = deployment.nodes
    return min(1.0, nodes / (epochs * deployment.site.downloads(nodes)))


def _network(gpu: Gpu, plan: Plan, deployment: Deployment) -> Network:
    return network_of(gpu, deployment.site.fabric, deployment.nodes, plan.world_size // deployment.nodes)


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
    accumulation_steps = micro_batch_count(batch.global_batch_size, batch.micro_batch_size, ranks)
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
    """Values of `batch.micro_batch_size` that divide the packs of the rank with most packs evenly, in every step."""
    most = {most_packs(phase.packs, plan.world_size) for phase in plan.batch_phases}
    return [size for size in range(1, min(most) + 1) if all(packs % size == 0 for packs in most)]
