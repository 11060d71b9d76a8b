"""The share of a run's time that ends in steps that are kept: less saves, failures and starts.

Checkpoints are written behind training (docs/decisions/0021): a save stops training for the copy to host memory, and
for as long as the one before is still written. A failure costs its detection, a start, and the steps since the last
checkpoint that was complete.
"""

import math
from dataclasses import dataclass

from ...configs.errors import UserError
from .fabric import GPU_MTBF, Site

COPY, PAUSE = 10e9, 0.05
"""Bytes per second from a device to its host, and seconds in which ranks agree on a save: assumed."""
PUBLISH = 0.5
"""Seconds from the last rank's file until the checkpoint is complete: assumed."""
IMPORTS = 30.0
"""Seconds of a start on local disks: imports, rendezvous, compilation, a first batch (two ranks: 13 s): assumed."""
FILE_CALLS, FILE_RATE = 25_000, 500_000
"""Calls of a rank at its start for names of its environment and code, counted (benchmarks/start_up.py); calls per
second that a shared disk answers, assumed."""
NOTICED, HANGS = 15.0, 0.15
"""Seconds until a lost rank ends the run; the share of failures in which ranks hang instead: assumed."""


@dataclass(frozen=True)
class Goodput:
    """Where a run's time goes.

    Attributes:
        share: of the time, spent on steps that are kept.
        saves, failures: shares of the time.
        stall, write: seconds of a save, in which training stands still, and until the checkpoint is complete.
        start: seconds from the start of the ranks to the first step.
        between_failures: seconds, of all nodes together.
        interval: seconds between saves.
        best_interval: with which saves and repeated steps together cost least.
    """

    share: float
    saves: float
    failures: float
    stall: float
    write: float
    start: float
    between_failures: float
    interval: float
    best_interval: float


def goodput(
    step: float, save_every: int, checkpoint: float, ranks: int, nodes: int, hang: float, site: Site
) -> Goodput:
    """The goodput of steps of `step` seconds, of which every `save_every`-th is followed by a save.

    Args:
        checkpoint: bytes.
        hang: seconds after which a rank without progress ends the run (the section `hangs`).
    Raises:
        UserError: so many nodes fail more often than the run can start and repeat what it lost.
    """
    interval = step * save_every
    write = checkpoint / (nodes * site.disk) + PUBLISH
    stall = PAUSE + checkpoint / ranks / COPY + max(0.0, write - interval)
    start = IMPORTS + ranks * FILE_CALLS / FILE_RATE + checkpoint / (nodes * site.disk)
    of_a_node = site.mtbf or GPU_MTBF * nodes / ranks
    between = of_a_node / nodes
    lost = NOTICED * (1 - HANGS) + hang * HANGS + start + write + (interval + stall) / 2
    if lost >= between:
        raise UserError(
            f"a failure is expected every {between / 3600:.1f} hours ({nodes} nodes, {of_a_node / 3600:,.0f} hours "
            f"each) and costs {lost / 3600:.1f} hours: save more often (checkpoint.every_steps={save_every}), use "
            "fewer nodes, or correct --mtbf"
        )
    productive = 1 - lost / between
    return Goodput(
        share=productive * interval / (interval + stall),
        saves=productive * stall / (interval + stall),
        failures=lost / between,
        stall=stall,
        write=write,
        start=start,
        between_failures=between,
        interval=interval,
        best_interval=max(write, math.sqrt(2 * (PAUSE + checkpoint / ranks / COPY) * between)),
    )
