"""The part of `cmbert plan` about the network: what a step is spent on, and what saves and failures cost."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from ...training.planning.forecast import Forecast

NAMES = {
    "device": "computation",
    "host": "host",
    "slowest": "slowest rank",
    "bandwidth": "bandwidth",
    "latency": "latency",
    "data": "data",
}
"""Of the parts of a step (training/planning/step_time.py)."""


def print_network(result: "Forecast", console: "Console") -> None:
    """Print the shares of a step of each phase with the part that binds, and the goodput."""
    from rich.box import SIMPLE
    from rich.table import Table

    from ...training.planning.step_time import SPREAD_OF_BATCHES, SPREAD_OF_RANKS

    network, kept = result.network, result.goodput
    assert network is not None
    assert kept is not None
    table = Table("length", box=SIMPLE, padding=(0, 1, 0, 0))
    for title in ("step", "device", "host", "slowest", "bandwidth", "latency", "data", "binds"):
        table.add_column(title, no_wrap=True)
    for phase in result.phases:
        step = phase.step
        assert step is not None
        shares = (f"{part / step.total:.0%}" for part in step.parts().values())
        length = f"{phase.max_seqlen:,}" + "\ncausal" * (phase.objective == "causal")
        table.add_row(length, f"{step.total:.3g} s", *shares, NAMES[step.binding()])
    between = ""
    if network.nodes > 1:
        fabric = network.fabric
        between = f"{fabric.name}: {fabric.node / 1e9:g} GB/s out of a node, {1e6 * fabric.latency:g} us; "
    table.caption = (
        f"Shares of a step. {between}{network.link / 1e9:g} GB/s inside a node; assumed. Host: launches slower than "
        f"the device. Slowest: ranks differ by {SPREAD_OF_RANKS:.0%}, batches by {SPREAD_OF_BATCHES:.0%}. Data: "
        "downloads slower than the step. Binds: the largest part."
    )
    console.print(table)
    console.print(
        f"Goodput {kept.share:.1%}: {kept.saves:.2%} of the time for saves ({kept.stall:.2g} s every "
        f"{kept.interval / 60:.3g} min), {kept.failures:.2%} for failures (one in {kept.between_failures / 3600:,.0f} "
        f"hours; {kept.start:.0f} s until a start trains)."
    )
