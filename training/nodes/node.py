"""The ranks of one node: they write one file of a checkpoint together, and one of them leads.

A node here is a run of consecutive ranks that share a machine and the disk of the run. Consecutive, because ZeRO gives
consecutive ranks ranges of a parameter that adjoin.
"""

import socket
from collections.abc import Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch.distributed as dist


@dataclass(frozen=True)
class Node:
    """The node of this rank.

    Attributes:
        ranks: its ranks.
        number: of the node, counted from 0 in the order of ranks.
        count: nodes of the run.
        disks: of each rank of the run, the lowest rank on its disk.
        group: gloo group of its ranks.
        everyone: gloo group of all ranks.
    """

    ranks: range
    number: int
    count: int
    disks: tuple[int, ...]
    group: Any
    everyone: Any

    @property
    def leads(self) -> bool:
        """Whether this rank is the first of its node."""
        return dist.get_rank() == self.ranks.start

    @property
    def leads_disk(self) -> bool:
        """Whether this rank is the lowest on its disk."""
        return dist.get_rank() == self.disks[dist.get_rank()]

    @property
    def shared(self) -> bool:
        """Whether all ranks share a disk."""
        return not any(self.disks)


def join_node(disks: Sequence[int], timeout: timedelta) -> Node:
    """Find the node of this rank, and make groups that background threads may use. Every rank calls it.

    Args:
        disks: of each rank, the lowest rank on its disk.
        timeout: of exchanges in the groups.
    """
    rank, everyone = dist.get_rank(), dist.new_group(backend="gloo", timeout=timeout)
    machines = gather_all(_machine(), everyone)
    nodes = consecutive(list(zip(disks, machines, strict=True)))
    number, ranks = next((number, ranks) for number, ranks in enumerate(nodes) if rank in ranks)
    # Only members take part, so that the start does not wait once per node.
    group = dist.new_group([*ranks], timeout=timeout, backend="gloo", use_local_synchronization=True)
    return Node(ranks, number, len(nodes), tuple(disks), group, everyone)


def gather_all(value: Any, group: Any = None) -> list[Any]:
    """The value of each rank of a group, or of the run, on each of them."""
    values: list[Any] = [None] * dist.get_world_size(group)
    dist.all_gather_object(values, value, group=group)
    return values


def gather_to_first(value: Any, group: Any) -> list[Any]:
    """The value of each rank on rank 0, and an empty list on the others."""
    values: list[Any] = [None] * dist.get_world_size(group) if dist.get_rank() == 0 else []
    dist.gather_object(value, values or None, dst=0, group=group)
    return values


def from_first(value: Any, group: Any = None) -> Any:
    """The value of rank 0."""
    values = [value]
    dist.broadcast_object_list(values, src=0, group=group)
    return values[0]


def consecutive(places: Sequence[Hashable]) -> list[range]:
    """The runs of consecutive ranks at the same place, in order.

    Args:
        places: of each rank.
    """
    starts = [rank for rank, place in enumerate(places) if rank == 0 or places[rank - 1] != place]
    return [range(start, end) for start, end in zip(starts, [*starts[1:], len(places)], strict=True)]


def _machine() -> tuple[str, str]:
    """The host name, which containers of one machine may not share, and the boot, which two machines never share."""
    boot = ""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return socket.gethostname(), boot
