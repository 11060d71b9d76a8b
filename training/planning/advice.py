"""Changes of a recipe that a forecast recommends, with what they gain."""

from collections.abc import Iterator
from functools import partial

from ...model.config import ModelConfig
from ..recipe.engine_config import EngineConfig
from ..recipe.schedule import Plan
from .devices import Gpu
from .fabric import Deployment
from .forecast import Forecast, expected_days
from .goodput import goodput
from .stage import at_stage, choose_stage

WORTH = 0.03
"""Share of the time that a change must save to be recommended."""
BUCKETS = 8
"""Exchanges per micro-batch that overlap is tried with: few, since each has its latency."""


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
    for stage, reason in {option.zero_stage: option.refused for option in result.options if option.refused}.items():
        yield f"ZeRO stage {stage} is unsupported: {reason}."


def levers(
    model: ModelConfig, engine: EngineConfig, plan: Plan, gpu: Gpu, deployment: Deployment, result: Forecast
) -> Iterator[str]:
    """Yield changes that save time on this network, one sentence each; `result` is the forecast without them."""
    if plan.world_size > 1:
        yield from _network_levers(model, engine, plan, gpu, deployment, result)
    yield from _save_interval(plan, deployment, result)


def _network_levers(
    model: ModelConfig, recipe: EngineConfig, plan: Plan, gpu: Gpu, deployment: Deployment, result: Forecast
) -> Iterator[str]:
    engine = choose_stage(model, recipe, plan, gpu.memory, deployment.nodes).engine
    days = partial(expected_days, model, plan=plan, gpu=gpu, deployment=deployment)
    now = days(engine)
    stages = {engine.stage: now}
    for option in result.options:
        if option.fits and option.activation_checkpointing == engine.activation_checkpointing:
            stage = option.zero_stage
            stages.setdefault(stage, days(at_stage(model, recipe, stage, plan, gpu.memory)))
    best = min(stages, key=lambda stage: (stages[stage], stage))
    if stages[best] < 0.99 * now:
        yield (
            f"engine.zero_stage={best} saves {_saved(now, stages[best])} of the time, and the loss is the same: a rank "
            f"sends {_sent(result, best)} GB per step instead of {_sent(result, engine.stage)}, in other messages."
        )
    else:
        yield f"engine.zero_stage={engine.stage} is the fastest of the stages that fit."
    halved = days(engine.model_copy(update={"reduce_precision": "bf16"})) if engine.precision == "bf16" else now
    if halved < (1 - WORTH) * now:
        yield f"engine.reduce_precision=bf16 saves {_saved(now, halved)} of the time: gradients are half as large."
    bucket = -(-model.num_parameters // BUCKETS)
    keys = {"overlap_comm": True, "reduce_bucket_size": bucket}
    zero = {**engine.zero_optimization, **keys}
    overlapped = days(engine.model_copy(update={"zero_optimization": zero})) if engine.stage > 1 else now
    if overlapped < (1 - WORTH) * now:
        yield (
            f"engine.zero_optimization.overlap_comm=true with reduce_bucket_size={bucket} saves "
            f"{_saved(now, overlapped)} of the time: gradients are exchanged during backward."
        )
    if (twice := days(engine, batches=2)) < (1 - WORTH) * now:
        yield (
            f"batch.global_batch_size={2 * plan.batch.global_batch_size} saves {_saved(now, twice)} of the time per "
            "token, with half as many exchanges; it changes the training."
        )
    if (inside := days(engine, by_nodes=True)) < (1 - WORTH) * now:
        yield (
            f"A library that exchanges inside nodes first, then between them, would save {_saved(now, inside)} of the "
            "time: NCCL's rings pass through all ranks."
        )


def _save_interval(plan: Plan, deployment: Deployment, result: Forecast) -> Iterator[str]:
    kept = result.goodput
    assert kept is not None
    step = kept.interval / deployment.save_every
    every = min(plan.steps, max(1, round(kept.best_interval / step)))
    nodes = deployment.nodes
    better = goodput(step, every, result.checkpoint, plan.world_size, nodes, deployment.hang(step), deployment.site)
    if better.share > kept.share + 0.002:
        yield (
            f"checkpoint.every_steps={every} (every {every * step / 60:.0f} min, the square root of 2 x save x time "
            f"between failures) loses {1 - better.share:.1%} of the time to saves and failures, instead of "
            f"{1 - kept.share:.1%}."
        )


def _saved(now: float, then: float) -> str:
    return f"{1 - then / now:.0%}"


def _sent(result: Forecast, stage: int) -> str:
    return f"{next(option.sent for option in result.options if option.zero_stage == stage) / 1e9:.2f}"
