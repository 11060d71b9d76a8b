"""The ZeRO stage of a run, chosen by the arithmetic of `cmbert plan`.

Ranks call it with the memory that they have, `cmbert plan` with that of a data sheet. Every stage gives the same
training; they differ in memory, in bytes sent and in CPU time per micro-batch. docs/decisions/0028-zero-stage-auto.md
has the reasons.
"""

from dataclasses import dataclass

from ...model.config import ModelConfig
from ...streaming_data.loader.split import micro_batch_count
from ..recipe.engine_config import EngineConfig, unsupported_reason
from ..recipe.schedule import Plan
from ..zero.partition import PERSISTENCE, parameter_sizes, stays_gathered
from .communication import exchange
from .memory import peak

USABLE = 0.9
"""Share of a device's memory; the rest is left to CUDA, NCCL and fragmentation of the allocator."""
_GB = 1e9


@dataclass(frozen=True)
class Choice:
    """Settings with a numbered stage.

    Attributes:
        engine: with `zero_stage` as a number, and for ZeRO-3 whether the weights stay gathered.
        reason: the choice and why, in one sentence.
    """

    engine: EngineConfig
    reason: str


def choose_stage(model: ModelConfig, engine: EngineConfig, plan: Plan, memory: float, nodes: int = 1) -> Choice:
    """Replace `zero_stage: auto` by the stage that costs least and fits.

    One rank uses ZeRO-1, since it has nothing to partition. Several use it if model states and batch fit, and ZeRO-3
    otherwise, or if their nodes exchange less with it. A number in the recipe is kept.

    Args:
        memory: bytes of one rank's device.
        nodes: the ranks are distributed over these.
    """
    sharded = at_stage(model, engine, 3, plan, memory)
    if engine.zero_stage != "auto":
        chosen = sharded if engine.zero_stage == 3 else engine
        return _choice(model, chosen, "as the recipe says")
    copied = engine.model_copy(update={"zero_stage": 1})
    if unsupported_reason(copied):
        return _choice(model, sharded, "which other keys of `engine` need")
    if plan.world_size == 1:
        return _choice(model, copied, "since one rank has nothing to partition")
    needed, usable = peak(model, copied, plan), USABLE * memory
    if needed > usable:
        why = f"since ZeRO-1 needs {needed / _GB:.2f} GB of the {usable / _GB:.2f} that a rank can use"
        return _choice(model, sharded, why)
    ranks = plan.world_size
    micro_batches = micro_batch_count(plan.batch.global_batch_size, plan.batch.micro_batch_size, ranks)
    sent = [exchange(model, e, micro_batches, plan.optimizer, ranks).sent(ranks) for e in (copied, sharded)]
    if nodes > 1 and sent[1] < sent[0]:
        why = f"with which each rank sends {sent[1] / _GB:.2f} GB per step instead of {sent[0] / _GB:.2f}"
        return _choice(model, sharded, why)
    return _choice(model, copied, f"which needs {needed / _GB:.2f} of {usable / _GB:.2f} GB per rank")


def at_stage(model: ModelConfig, engine: EngineConfig, stage: int, plan: Plan, memory: float) -> EngineConfig:
    """The settings at a stage. ZeRO-3 keeps the weights gathered if they fit and the recipe does not decide it."""
    changes: dict[str, object] = {"zero_stage": stage}
    if stage < 3:
        changes["zero_hpz_partition_size"] = 1
    settings = engine.model_copy(update=changes)
    if stage < 3 or settings.zero_hpz_partition_size > 1 or PERSISTENCE in settings.zero_optimization:
        return settings
    limits = {**settings.zero_optimization, PERSISTENCE: max(parameter_sizes(model))}
    gathered = settings.model_copy(update={"zero_optimization": limits})
    return gathered if peak(model, gathered, plan) <= USABLE * memory else settings


def _choice(model: ModelConfig, engine: EngineConfig, why: str) -> Choice:
    sentence = f"ZeRO-{engine.stage}, {why}"
    if engine.stage == 3:
        stay = stays_gathered(engine, max(parameter_sizes(model)))
        sentence += "; its weights stay gathered" if stay else "; its weights are gathered for each micro-batch"
    return Choice(engine, sentence)
