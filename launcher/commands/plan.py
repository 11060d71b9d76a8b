"""`cmbert plan`: what a run will take, before a GPU is there."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...configs.errors import UserError
from ...configs.loader.load import load
from ...configs.loader.recipes import find_recipe
from .options import Overrides, Recipe

if TYPE_CHECKING:
    from ...model.config import ModelConfig
    from ...training.planning.forecast import Forecast
    from ...training.planning.hardware import Gpu
    from ...training.recipe.config import RunConfig
    from ..cluster.config import ClusterConfig

GB = 1e9


def plan(
    recipe: Recipe,
    overrides: Overrides = [],  # noqa: B006 - typer copies it
    cluster: Annotated[Path | None, typer.Option(help="The cluster's YAML file: nodes, ranks, gpu, price.")] = None,
    gpu: Annotated[str | None, typer.Option(help="Such as h100 or a100-40gb.")] = None,
    nodes: Annotated[int | None, typer.Option(min=1, help="1 if neither this nor a cluster says.")] = None,
    gpus_per_node: Annotated[int | None, typer.Option(min=1, help="8 if neither this nor a cluster says.")] = None,
    price: Annotated[float | None, typer.Option(min=0, help="Of one GPU for an hour, in any currency.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs: bytes, seconds, FLOPs.")] = False,
) -> None:
    """Work out memory, communication, time and cost of a run, without a GPU.

    Example: cmbert plan base --gpu h100 --nodes 8 --price 2.5
    """
    from ...training.planning.forecast import advice, forecast
    from ...training.recipe.config import RunConfig
    from ...training.recipe.schedule import make_plan
    from ..cluster.config import ClusterConfig

    config = load(RunConfig, find_recipe(recipe), overrides)
    known = load(ClusterConfig, cluster) if cluster else None
    ranks = (nodes or (known.nodes if known else 1)) * (gpus_per_node or (known.ranks_per_node if known else 8))
    device = _device(gpu, known)
    planned = make_plan(config, ranks)
    found = forecast(_model(config), planned, device, price if price is not None else _price(known))
    sentences = list(advice(found, planned))
    if as_json:
        typer.echo(json.dumps({**asdict(found), "steps": planned.steps, "advice": sentences}, indent=1))
        return
    _print(found, config, sentences, planned.steps)


def _device(name: str | None, cluster: "ClusterConfig | None") -> "Gpu":
    from ...training.planning.hardware import GPUS, find_gpu

    asked = name or (cluster.gpu if cluster else None)
    if asked and (found := find_gpu(asked)):
        return found
    names = ", ".join(gpu.name.lower().replace(" ", "-") for gpu in GPUS)
    raise UserError(
        (f"{asked}: not a GPU whose data sheet is known" if asked else "which GPU?")
        + f": name one with --gpu, or `gpu:` in the cluster's file: {names}"
    )


def _price(cluster: "ClusterConfig | None") -> float | None:
    return cluster.price_per_gpu_hour if cluster else None


def _model(config: "RunConfig") -> "ModelConfig":
    if config.model is not None:
        return config.model
    from ...model.hugging_face_config import read_config

    assert config.initial_weights is not None
    return read_config(config.initial_weights)


def _print(found: "Forecast", config: "RunConfig", sentences: list[str], steps: int) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    from ...training.planning.forecast import PUBLISHED_MFU, USABLE

    console = Console(markup=False, highlight=False)
    engine, batch = config.engine, config.batch
    accumulated = batch.global_batch_size // (batch.micro_batch_size * found.ranks)
    console.print(
        f"{found.parameters:,} parameters on {found.ranks} {found.gpu.name} of {found.gpu.memory / GB:.0f} GB\n"
        f"{steps:,} steps of {found.tokens_per_step:,} tokens: {found.ranks} ranks x {accumulated} micro-batches x "
        f"{batch.micro_batch_size} packs\na checkpoint is {found.checkpoint / GB:.2f} GB"
    )
    memory = Table("ZeRO", "layers", "states", "activations", "peak", "", "largest", "sent", box=SIMPLE)
    memory.caption = (
        f"GB of a rank in {engine.precision}, layers computed once or twice; largest: batch.micro_batch_size "
        f"that fits in {USABLE:.0%} of the memory; sent: GB a step; >: the recipe"
    )
    for row in _memory_rows(found, (engine.zero_stage, engine.activation_checkpointing)):
        memory.add_row(*row)
    console.print(memory)
    time = Table("sequences up to", "steps", "tokens", "FLOPs", "tokens/s", "time", box=SIMPLE)
    time.caption = (
        f"if it reaches {PUBLISHED_MFU[0]:.0%} to {PUBLISHED_MFU[1]:.0%} of the peak of {found.gpu.peak / 1e12:.0f} "
        "TFLOPS, as ModernBERT's own code did on H100s (published). Not measured; every sequence as long as allowed."
    )
    for phase in found.phases:
        slow, fast = phase.tokens_per_second
        counts = (f"{phase.max_seqlen:,}", f"{phase.steps:,}", f"{phase.tokens / 1e6:,.1f} M", f"{phase.flops:.3g}")
        time.add_row(*counts, f"{slow / 1e3:,.0f}k to {fast / 1e3:,.0f}k", _range(phase.days))
    console.print(time)
    gpu_hours = (24 * found.ranks * found.days[0], 24 * found.ranks * found.days[1])
    cost = f", cost {found.cost[1]:,.0f} to {found.cost[0]:,.0f}" if found.cost else ""
    console.print(f"{_range(found.days)}, GPU hours {gpu_hours[1]:,.0f} to {gpu_hours[0]:,.0f}{cost}")
    for sentence in sentences:
        console.print(f"- {sentence}", soft_wrap=True)


def _memory_rows(found: "Forecast", of_recipe: tuple[int, bool]) -> Iterator[tuple[str, ...]]:
    for option in found.options:
        mark = ">" if (option.zero_stage, option.activation_checkpointing) == of_recipe else " "
        layers = "twice" if option.activation_checkpointing else "once"
        if option.states is None or option.activations is None:
            if not option.activation_checkpointing:
                yield f"{mark} {option.zero_stage}", "", "", "", "", "refused", "", ""
            continue
        yield (
            f"{mark} {option.zero_stage}",
            layers,
            f"{option.states.device / GB:.2f}",
            f"{option.activations.device / GB:.2f}",
            f"{option.peak / GB:.2f}",
            "fits" if option.fits else "too large",
            str(option.largest_micro_batch_size or "none"),
            f"{option.sent / GB:.2f}",
        )


def _range(days: tuple[float, float]) -> str:
    slow, fast = days
    for unit, parts in (("days", 1), ("hours", 24)):
        if slow * parts >= 2:
            return f"{parts * fast:.1f} to {parts * slow:.1f} {unit}"
    return f"{1440 * fast:.1f} to {1440 * slow:.1f} minutes"
