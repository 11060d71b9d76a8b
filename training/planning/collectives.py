"""Seconds of a collective by algorithm and size, from the network's rates and latencies.

A round of a ring passes a piece from every rank to the next. All rounds take as long as the slowest link needs for all
pieces, or as long as one piece needs for all hops but one, whichever is more: a rank that is behind delays only its
followers. benchmarks/network.py plays rings and trees hop by hop and shares no formula.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from .fabric import LAUNCH, LINK_LATENCY, Network

Kind = Literal["all_reduce", "all_gather", "reduce_scatter", "all_to_all"]
CHUNK = 2**20
"""Bytes that a tree passes on at a time: assumed."""
TREE_SHARE = 0.85
"""Of the links' rate that large tensors reach in trees, since parents wait for children: 0.73 to 1 as played."""
LIBRARY = {"all_reduce": ("ring", "tree"), "all_gather": ("ring",), "reduce_scatter": ("ring",)}
"""The algorithms between nodes that NCCL has for each collective, of those below."""


@dataclass(frozen=True)
class Seconds:
    """Of a collective: what its bytes need, and what remains however small it is."""

    bandwidth: float
    latency: float
    algorithm: str = "ring"

    @property
    def total(self) -> float:
        return self.bandwidth + self.latency


def seconds(kind: Kind, size: float, network: Network, by_nodes: bool = False) -> Seconds:
    """Of one collective, by the fastest algorithm of the library.

    Args:
        size: bytes of the tensor that is not partitioned.
        by_nodes: whether the library could also work by nodes (`hierarchical`).
    """
    if network.ranks == 1:
        return Seconds(0, 0)
    if kind == "all_to_all":
        return all_to_all(size, network)
    names = LIBRARY[kind] + (("hierarchical",) if by_nodes else ())
    passes = 2 if kind == "all_reduce" else 1
    return min((_ALGORITHMS[name](size, passes, network) for name in names), key=lambda each: each.total)


def ring(size: float, passes: int, network: Network) -> Seconds:
    """A ring through all ranks, which leaves each node once. An all-reduce passes everything twice."""
    piece = size / network.ranks
    inside = piece / network.link + LINK_LATENCY
    between = network.nodes if network.nodes > 1 else 0
    hops = (network.ranks - between) * inside + between * (piece / network.fabric.node + network.fabric.latency)
    bandwidth = passes * (network.ranks - 1) * piece / _rate(network)
    return Seconds(bandwidth, LAUNCH + max(0.0, passes * (hops - inside) - bandwidth), "ring")


def tree(size: float, passes: int, network: Network) -> Seconds:
    """Two binary trees of nodes, each with half of the data, and a chain inside each node, in chunks.

    A node that is inside one tree is a leaf of the other, so that all send as much as in a ring.
    """
    if network.nodes == 1:
        return ring(size, passes, network)
    depth, chunk = math.ceil(math.log2(network.nodes)), min(size / 2, CHUNK)
    a_way = depth * network.fabric.latency + (depth - 1) * chunk / network.fabric.node
    a_way += (network.local - 1) * (LINK_LATENCY + chunk / network.link)
    bandwidth = passes * size * (network.nodes - 1) / network.nodes / (TREE_SHARE * _rate(network))
    return Seconds(bandwidth, LAUNCH + passes * a_way, "tree")


def hierarchical(size: float, passes: int, network: Network) -> Seconds:
    """A ring inside each node, and one between the ranks that hold the same part of it, on all adapters at once."""
    inside = ring(size, passes, Network(1, network.local, network.link, network.fabric))
    if network.nodes == 1:
        return inside
    rounds = passes * (network.nodes - 1)
    between = Seconds(rounds * size / network.nodes / network.fabric.node, LAUNCH + rounds * network.fabric.latency)
    return Seconds(inside.bandwidth + between.bandwidth, inside.latency + between.latency, "hierarchical")


def all_to_all(size: float, network: Network) -> Seconds:
    """Each rank sends its share of `size`, evenly to all others, which its node's other ranks do too."""
    share, outside = size / network.ranks, (network.nodes - 1) / network.nodes
    between = network.local * share * outside / network.fabric.node
    latency = network.fabric.latency if network.nodes > 1 else LINK_LATENCY
    return Seconds(max(share * (1 - outside) / network.link, between), LAUNCH + latency, "all-to-all")


_ALGORITHMS: dict[str, Callable[[float, int, Network], Seconds]] = {
    "ring": ring,
    "tree": tree,
    "hierarchical": hierarchical,
}


def _rate(network: Network) -> float:
    """Of the slowest link."""
    return network.link if network.nodes == 1 else min(network.link, network.fabric.node)
