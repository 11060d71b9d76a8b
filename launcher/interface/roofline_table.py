"""The tables of `cmbert plan --roofline`."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...model.config import ModelConfig
    from ...training.planning.devices import Gpu
    from ...training.planning.roofline import Operation
    from ...training.recipe.engine_config import EngineConfig
    from ...training.recipe.schedule import Plan

_SHOWN = 0.005
"""Operations that take a smaller share of the time are added up in one row."""


def print_roofline(
    model: "ModelConfig", engine: "EngineConfig", plan: "Plan", micro_batch_size: int, gpu: "Gpu"
) -> None:
    """Print the operations of a micro-batch of the longest sequences, then the speed at each length of the schedule."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    from ...training.planning.roofline import ASSUMED, roofline, times

    console = Console(markup=False, highlight=False)
    rates: dict[tuple[int, bool], float] = {}
    for settings in plan.change_points():
        shape = settings.max_seqlen, settings.objective == "causal"
        rates[shape] = max(settings.mlm_probability, rates.get(shape, 0.0))
    tokens = micro_batch_size * plan.data.seq_length
    speeds = Table("max. length", "floor", "expected", "host", "tokens/s", box=SIMPLE)
    operations: Sequence[Operation] = ()
    for (length, causal), rate in sorted(rates.items()):
        lengths = [length] * (tokens // length)
        predicted = tokens - len(lengths) if causal else round(rate * tokens)
        operations = roofline(
            model, engine, lengths, predicted, gpu, plan.world_size, optimizer=plan.optimizer, causal=causal
        )
        total = times(model, engine, operations)
        speed = tokens / (max(total.expected, total.host) + total.update[1])
        cells = (f"{seconds * 1e3:.1f} ms" for seconds in (total.floor, total.expected, total.host))
        speeds.add_row(f"{length:,}{' causal' * causal}", *cells, f"{speed / 1e3:,.0f}k")
    launches = sum(each.launches for each in operations)
    console.print(
        f"A micro-batch of {tokens:,} tokens in sequences of {length:,}{', causal,' * causal} on one {gpu.name} "
        f"({gpu.peak / 1e12:.0f} TFLOPS, {gpu.bandwidth / 1e12:.2f} TB/s), ZeRO-{engine.stage}, "
        f"{engine.precision}: {launches:,} launches, {sum(each.bytes for each in operations) / tokens / 1e6:.2f} MB "
        "per token"
    )
    console.print(_operations(operations, tokens))
    speeds.caption = (
        f"Counted, not measured. Floor: the device's bandwidth and peak. Expected: {ASSUMED['memory']:.0%} of the "
        f"bandwidth, and of the peak {ASSUMED['matrix product']:.0%} in matrix products, "
        f"{ASSUMED['attention forward']:.0%} and {ASSUMED['attention backward']:.0%} in attention, forward and "
        "backward. Host: CPU time to launch, hidden while it is below the device's. Without the network."
    )
    console.print(speeds)


def _operations(operations: "Sequence[Operation]", tokens: int) -> object:
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table("", "operation", box=SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
    for title in ("launches", "kB/token", "TFLOP", "floor, ms", "expected", "share"):
        table.add_column(title, justify="right")
    total = sum(each.expected for each in operations)
    large = [each for each in operations if each.expected >= _SHOWN * total]
    rest = [each for each in operations if each.expected < _SHOWN * total]
    for phase, name, group in [(each.phase, each.name, [each]) for each in large] + [("", "all others", rest)]:
        launches, count, flops, floor, expected = (
            sum(getattr(each, kind) for each in group) for kind in ("launches", "bytes", "flops", "floor", "expected")
        )
        cells = (f"{count / tokens / 1e3:,.0f}", f"{flops / 1e12:.2f}" if flops else "", f"{floor * 1e3:.2f}")
        table.add_row(phase, name, f"{launches:,}", *cells, f"{expected * 1e3:.2f}", f"{expected / total:.1%}")
    return table
