"""`cmbert plan`: forecast of a run's memory, communication, time and cost."""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from ...configs.loader.load import load, locate_recipe
from ...configs.loader.recipes import TRAINING
from ...configs.preconditions import check_all
from ...configs.reporting import suggest
from ..interface import completion
from ..interface.network_table import print_network
from ..interface.next_steps import settings
from ..interface.options import Overrides, Recipe
from ..interface.roofline_table import print_roofline

if TYPE_CHECKING:
    from ...training.planning.devices import Gpu
    from ...training.planning.fabric import Site
    from ...training.planning.forecast import Forecast
    from ...training.recipe.engine_config import EngineConfig
    from ...training.recipe.schedule_config import BatchConfig
    from ..cluster.config import ClusterConfig

GB = 1e9


_DEVICE = "A device that is not known, or whose numbers differ"
_NETWORK = "The network, and what else the site gives a run"
Number: TypeAlias = float | None


def _number(name: str, panel: str, text: str) -> Any:
    return typer.Option(name, callback=_positive, help=text, rich_help_panel=panel)


def _positive(value: Number) -> Number:
    if value is not None and not 0 < value < math.inf:
        raise typer.BadParameter(f"expected a positive number, got {value:g}")
    return value


def plan(
    recipe: Recipe,
    overrides: Overrides = [],  # noqa: B006 - typer copies it
    cluster: Annotated[
        Path | None, typer.Option(help="Cluster file (YAML): nodes, ranks, gpu, price, network.")
    ] = None,
    gpu: Annotated[
        str | None, typer.Option(help="GPU model, such as h100 or a100-40gb.", autocompletion=completion.gpus)
    ] = None,
    nodes: Annotated[int | None, typer.Option(min=1, help="Default: from the cluster file, else 1.")] = None,
    gpus_per_node: Annotated[int | None, typer.Option(min=1, help="Default: from the cluster file, else 8.")] = None,
    price: Annotated[float | None, typer.Option(min=0, help="Price per GPU and hour, in any currency.")] = None,
    roofline: Annotated[
        bool, typer.Option("--roofline", help="Show what each operation of a micro-batch costs instead.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: bytes, days, FLOPs.")] = False,
    peak: Annotated[Number, _number("--peak-tflops", _DEVICE, "Dense, in 16 bits.")] = None,
    memory: Annotated[Number, _number("--memory-gb", _DEVICE, "Of one device.")] = None,
    bandwidth: Annotated[Number, _number("--memory-bandwidth", _DEVICE, "Of its memory, in GB/s.")] = None,
    link: Annotated[Number, _number("--link-bandwidth", _DEVICE, "To the GPUs of its node, GB/s, one way.")] = None,
    fabric: Annotated[
        str | None,
        typer.Option(
            help="Network between nodes, such as efa or 100gbe.",
            autocompletion=completion.fabrics,
            rich_help_panel=_NETWORK,
        ),
    ] = None,
    node_bandwidth: Annotated[Number, _number("--node-bandwidth", _NETWORK, "Out of a node, reached, in GB/s.")] = None,
    latency: Annotated[Number, _number("--latency", _NETWORK, "Of a hop between nodes, in microseconds.")] = None,
    store: Annotated[Number, _number("--store-bandwidth", _NETWORK, "Object store to a node, in GB/s.")] = None,
    data: Annotated[Number, _number("--data-gb", _NETWORK, "Of the data set; a cache as large serves repeats.")] = None,
    mtbf: Annotated[Number, _number("--mtbf", _NETWORK, "Hours between failures of one node.")] = None,
) -> None:
    """Predict memory, communication, time and cost of a run, without a GPU.

    Example: cmbert plan base --gpu h100 --nodes 8 --fabric efa --price 2.5
    """
    from ...streaming_data.loader.split import describe_split
    from ...training.planning.advice import advice, levers
    from ...training.planning.devices import describe_gpu
    from ...training.planning.fabric import Deployment, in_windows
    from ...training.planning.forecast import forecast
    from ...training.planning.stage import choose_stage
    from ...training.recipe.config import RunConfig
    from ...training.recipe.limits import limits
    from ...training.recipe.schedule import make_plan
    from ...training.recipe.start import starting_model
    from ..cluster.config import ClusterConfig
    from ..cluster.network import NetworkConfig

    config = load(RunConfig, locate_recipe(recipe, TRAINING), overrides)
    known = load(ClusterConfig, cluster) if cluster else None
    counts = [nodes] if nodes else range(known.node_range[0], known.node_range[1] + 1) if known else [1]
    local = gpus_per_node or (known.ranks_per_node if known else 8)
    nodes = max(counts)
    ranks = nodes * local
    given = NetworkConfig(
        fabric=fabric,
        node_bandwidth=node_bandwidth,
        latency=latency,
        link_bandwidth=link,
        store_bandwidth=store,
        mtbf=mtbf,
    )
    network = given.over(known.network) if known else given
    name = gpu or (known.gpu if known else None)

    def device() -> "Gpu":
        return describe_gpu(name, peak, memory, bandwidth, network.link_bandwidth)

    def site() -> "Site":
        usual = network.site(known.fabric if known else None)
        return replace(usual, downloads=in_windows) if config.data.shuffle_window else usual

    check_all(
        [device, site, lambda: starting_model(config), *limits(config, [local * n for n in counts], elsewhere=True)]
    )
    run_plan = make_plan(config, ranks)
    model = starting_model(config)
    if roofline:
        chosen = choose_stage(model, config.engine, run_plan, device().memory, nodes)
        print_roofline(model, chosen.engine, run_plan, config.batch.micro_batch_size, device())
        suggest(["plan", recipe, *settings(overrides)])
        return

    def hang(step: float) -> float:
        return config.hangs.limit(step, 60 * config.engine.step_timeout_minutes) or 60 * config.engine.timeout_minutes

    cached = data if data and data <= (config.data.cache_gigabytes or math.inf) else 0.0
    deployment = Deployment(site(), nodes, config.checkpoint.every_steps, hang, GB * cached)
    hourly = price if price is not None else _price(known)
    result = forecast(model, config.engine, run_plan, device(), hourly, deployment)
    sentences = list(advice(result, config.engine, config.batch.micro_batch_size))
    sentences += levers(model, config.engine, run_plan, device(), deployment, result)
    if as_json:
        typer.echo(json.dumps({**asdict(result), "steps": run_plan.steps, "advice": sentences}, indent=1))
        return
    _print(result, config.engine, config.batch, local, sentences, run_plan.steps)
    for fewer in counts[:-1]:
        divided = describe_split(config.batch.global_batch_size, config.batch.micro_batch_size, fewer * local)
        typer.echo(f"on {fewer} nodes: {divided}")
    start = ["launch", "slurm", recipe, "--cluster", str(cluster), "--dry-run"] if cluster else ["train", recipe]
    suggest(["doctor"], [*start, *settings(overrides)])


def _price(cluster: "ClusterConfig | None") -> float | None:
    return cluster.price_per_gpu_hour if cluster else None


def _print(
    result: "Forecast", engine: "EngineConfig", batch: "BatchConfig", local: int, sentences: list[str], steps: int
) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    from ...streaming_data.loader.split import describe_split
    from ...training.planning.roofline import ASSUMED
    from ...training.planning.stage import USABLE

    console = Console(markup=False, highlight=False)
    divided = describe_split(batch.global_batch_size, batch.micro_batch_size, result.ranks)
    host = result.host
    console.print(
        f"{result.parameters:,} parameters on {result.ranks} {result.gpu.name} with {result.gpu.memory / GB:.0f} GB\n"
        f"{steps:,} steps of {result.tokens_per_step:,} tokens: {divided}\n"
        f"checkpoint size {result.checkpoint / GB:.2f} GB\n{result.reason}\n"
        f"host memory of a node: {local * host.total / GB:.1f} GB, for each of {local} ranks {host.process / GB:.0f} "
        f"(assumed) for Python and CUDA, and {host.start / GB:.2f} for the model at the start or later "
        f"{host.checkpoint / GB:.2f} for the copy of a checkpoint, {host.offloaded / GB:.2f} offloaded, "
        f"{host.batches / GB:.2f} for batches"
    )
    memory = Table("ZeRO", "layers", "states", "activations", "peak", "", "largest", "sent", box=SIMPLE)
    memory.caption = (
        f"GB per rank in {engine.precision}, layers computed once or twice; largest: batch.micro_batch_size "
        f"that fits in {USABLE:.0%} of the memory; sent: GB per step; >: the recipe"
    )
    for row in _memory_rows(result, (result.zero_stage, engine.activation_checkpointing)):
        memory.add_row(*row)
    console.print(memory)
    time = Table(box=SIMPLE, padding=(0, 1, 0, 0))
    for title in ("length", "steps", "tokens", "FLOPs", "tokens/s", "at most", "time", "at least"):
        time.add_column(title, no_wrap=True)
    time.caption = (
        f"Not measured: from the bytes and FLOPs of each operation (--roofline). Expected: {ASSUMED['memory']:.0%} of "
        f"{result.gpu.bandwidth / 1e12:.2f} TB/s, and of {result.gpu.peak / 1e12:.0f} TFLOPS "
        f"{ASSUMED['matrix product']:.0%} in matrix products and {ASSUMED['attention forward']:.0%} and "
        f"{ASSUMED['attention backward']:.0%} in attention, forward and backward. At most: all of both. Every sequence "
        "at its maximum length. At most and at least: without network, data, saves and failures."
    )
    for phase in result.phases:
        slow, fast = phase.tokens_per_second
        length = f"{phase.max_seqlen:,}" + "\ncausal" * (phase.objective == "causal")
        counts = (length, f"{phase.steps:,}", f"{phase.tokens / 1e6:,.1f} M", f"{phase.flops:.3g}")
        speeds = (f"{slow / 1e3:,.0f}k", f"{fast / 1e3:,.0f}k")
        time.add_row(*counts, *speeds, *_both(phase.days))
    console.print(time)
    print_network(result, console)
    expected, least = _both(result.days)
    hours = (24 * result.ranks * days for days in result.days)
    cost = "cost {:,.0f} (at least {:,.0f})".format(*result.cost) if result.cost else ""
    gpu_hours = "GPU hours {:,.0f} (at least {:,.0f})".format(*hours)
    console.print(", ".join(filter(None, [f"{expected} (at least {least})", gpu_hours, cost])))
    for sentence in sentences:
        console.print(f"- {sentence}", soft_wrap=True)


def _memory_rows(result: "Forecast", recipe: tuple[int, bool]) -> Iterator[tuple[str, ...]]:
    for option in result.options:
        mark = ">" if (option.zero_stage, option.activation_checkpointing) == recipe else " "
        layers = "twice" if option.activation_checkpointing else "once"
        if option.states is None or option.activations is None:
            if not option.activation_checkpointing:
                yield f"{mark} {option.zero_stage}", "", "", "", "", "unsupported", "", ""
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


def _both(days: tuple[float, float]) -> list[str]:
    """Two durations in the unit that suits the longer one."""
    for unit, per_day in (("days", 1), ("hours", 24)):
        if max(days) * per_day >= 2:
            return [f"{per_day * each:.1f} {unit}" for each in days]
    return [f"{1440 * each:.1f} min" for each in days]
