"""Seconds of a step on many ranks: the device's, and what its host, the slowest rank, network and data add.

What overlaps is what overlaps in the engine (training/zero/engine.py): `overlap_comm` is off unless the recipe sets it,
so gradients are exchanged after backward. DeepSpeed starts ZeRO-3's gathers ahead, beside the computation of layers
that have their weights; the first of them is waited for.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from statistics import NormalDist

from ...model.config import ModelConfig
from ..recipe.engine_config import EngineConfig
from ..zero.partition import reduce_bucket_size
from .collectives import Seconds, seconds
from .communication import Message, Traffic
from .fabric import Network, Site
from .roofline import Times

SPREAD_OF_RANKS, SPREAD_OF_BATCHES = 0.01, 0.02
"""Standard deviations of the speed of devices of one kind, and of the time of a micro-batch on one device: assumed."""
FORWARD = 1 / 3
"""Share of forward in a micro-batch's time."""
HOST_MESSAGE = 5e-6
"""Seconds in which rank 0 receives the report of one rank before a step (training/resilience): assumed."""
SHARD_BYTES = 2
"""Bytes of a token in a shard, for vocabularies below 65,536."""


@dataclass(frozen=True)
class StepTime:
    """Seconds of one step, by what they are spent on; the sum is the step's.

    Attributes:
        device: computation on one device alone, with the update.
        host: that launching a micro-batch takes longer than its computation.
        slowest: until the slowest rank arrives, at each exchange.
        bandwidth: that the bytes of the exchanges need, unless computation hides them.
        latency: that the exchanges need in addition, however small; and the agreement of hosts before the step.
        data: that downloading the step's shards takes longer than the step.
    """

    device: float
    host: float
    slowest: float
    bandwidth: float
    latency: float
    data: float

    @property
    def total(self) -> float:
        return sum(self.parts().values())

    def parts(self) -> dict[str, float]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def binding(self) -> str:
        """What most of the step is spent on."""
        parts = self.parts()
        return max(parts, key=lambda name: parts[name])

    def loss(self) -> str:
        """What most of the step is spent on, besides the device's computation."""
        parts = self.parts()
        del parts["device"]
        return max(parts, key=lambda name: parts[name])


def step_time(
    config: ModelConfig,
    engine: EngineConfig,
    messages: Traffic,
    one: Times,
    micro_batches: float,
    tokens: float,
    network: Network,
    site: Site,
    by_nodes: bool = False,
    downloaded: float = 1.0,
) -> StepTime:
    """A step in which every rank computes `micro_batches` micro-batches, expected.

    Args:
        one: of a micro-batch, on one device.
        tokens: of the step, on all ranks.
        by_nodes: whether the library could exchange by nodes first (collectives.py).
        downloaded: share of the steps whose shards are not in the caches yet.
    """
    batch = max(one.expected, one.host)
    exchanges = micro_batches if engine.stage > 1 else 1
    of_batch = _exposed(config, engine, messages, batch, network, by_nodes)
    once = _sum(seconds(each.kind, each.size, network, by_nodes) for each in messages.step)
    norm = seconds("all_reduce", messages.norm_size, network, by_nodes)
    bandwidth = micro_batches * of_batch.bandwidth + once.bandwidth
    latency = micro_batches * of_batch.latency + once.latency + messages.norms * norm.total
    computed = micro_batches * batch
    # The batches between two exchanges add up, so that their spread is smaller; a slow device stays slow.
    spread = math.hypot(SPREAD_OF_RANKS, SPREAD_OF_BATCHES / math.sqrt(max(1.0, micro_batches / exchanges)))
    result = StepTime(
        device=micro_batches * one.expected + one.update[1],
        host=micro_batches * (batch - one.expected),
        slowest=expected_maximum(network.ranks) * spread * computed,
        bandwidth=bandwidth,
        latency=latency + (network.ranks - 1) * HOST_MESSAGE,
        data=0.0,
    )
    data = download_seconds(tokens, network.nodes, site)
    return StepTime(**{**result.parts(), "data": downloaded * max(0.0, data - result.total)})


def expected_maximum(count: int) -> float:
    """Of so many normal variables, in standard deviations (Blom's approximation)."""
    return 0.0 if count == 1 else NormalDist().inv_cdf((count - 0.375) / (count + 0.25))


def download_seconds(tokens: float, nodes: int, site: Site) -> float:
    """Seconds in which all nodes download what a step of so many tokens needs, if nothing is in their caches."""
    size = SHARD_BYTES * tokens * site.downloads(nodes)
    return size / min(nodes * site.store, site.store_total)


def _exposed(
    config: ModelConfig, engine: EngineConfig, messages: Traffic, batch: float, network: Network, by_nodes: bool
) -> Seconds:
    """What a micro-batch waits for its exchanges."""
    hpz = network.within(engine.zero_hpz_partition_size) if engine.zero_hpz_partition_size > 1 else network
    forward = _gathered_ahead(messages.forward, FORWARD * batch, network, by_nodes)
    backward = _gathered_ahead(messages.backward, (1 - FORWARD) * batch, hpz, by_nodes)
    reduced = _sum(seconds(each.kind, each.size, network, by_nodes) for each in messages.reduced)
    if engine.zero_optimization.get("overlap_comm"):
        # A bucket is sent while the next is computed; the last one is not.
        last = min(1.0, reduce_bucket_size(engine, config.num_parameters) / config.num_parameters)
        hidden = min((1 - last) * (1 - FORWARD) * batch, (1 - last) * reduced.total)
        reduced = _less(reduced, hidden)
    return _sum([forward, backward, reduced])


def _gathered_ahead(messages: tuple[Message, ...], compute: float, network: Network, by_nodes: bool) -> Seconds:
    """What computation waits for gathers that start together and are computed with one after the other.

    Each gather brings a part of the computation as large as its part of the weights.
    """
    each = [seconds(message.kind, message.size, network, by_nodes) for message in messages]
    total = sum(message.size for message in messages)
    arrived = computed = 0.0
    for message, one in zip(messages, each, strict=True):
        arrived += one.total
        computed = max(computed, arrived) + compute * message.size / total
    return _less(_sum(each), arrived - max(0.0, computed - compute))


def _less(whole: Seconds, hidden: float) -> Seconds:
    """Without the hidden seconds, in the same proportions."""
    left = 1 - hidden / whole.total if whole.total else 0.0
    return Seconds(left * whole.bandwidth, left * whole.latency)


def _sum(parts: Iterable[Seconds]) -> Seconds:
    listed = list(parts)
    return Seconds(sum(each.bandwidth for each in listed), sum(each.latency for each in listed))
