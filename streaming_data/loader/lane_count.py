"""How many lanes the order of a run has: as many as its batch and the cache of a node allow."""

from collections.abc import Sequence

from ..shards.layout import SHARD_BYTES
from ..shards.mds import PackReader
from .config import MOST_LANES
from .lanes import LaneOrder
from .order import Order

ASSUMED_CACHE = 32 * 10**9
"""Bytes of shards that a run may have in use on one node if `data.cache_gigabytes` does not limit them."""
_FEWEST = 64
_LANES_PER_NODE = 4
_SPARE = 1.5  # shards in the cache per shard in use: the next one of a lane is downloaded before it is needed


def choose_lanes(packs_per_step: int, shard_bytes: float, cache_bytes: float) -> int:
    """The number of lanes of a run.

    With the largest divisor of a step's packs, each step uses every lane equally often, so a rank stays in its lanes.
    A batch of less than 64 packs is divided among few ranks; 64 lanes, or nearly, shuffle its packs better. The cache
    must hold 1.5 shards per lane, since one node may read all of them.

    Args:
        packs_per_step: of the full batch, over all ranks.
        shard_bytes: of one shard.
        cache_bytes: for the shards of one node.
    """
    most = _lanes_that_fit(shard_bytes, cache_bytes)
    suitable = [lanes for lanes in range(1, packs_per_step + 1) if packs_per_step % lanes == 0]
    suitable += range(packs_per_step, _FEWEST + 1, packs_per_step)
    best = max(lanes for lanes in suitable if lanes <= most)
    return best if 2 * best > _FEWEST else min(most, _FEWEST)


def _lanes_that_fit(shard_bytes: float, cache_bytes: float) -> int:
    return min(MOST_LANES, max(1, int(cache_bytes / (_SPARE * shard_bytes))))


def lanes_for(readers: Sequence[PackReader], packs_per_step: int, cache_gigabytes: float | None) -> int:
    """The number of lanes for the shards of a data set."""
    shards = [shard.bytes for reader in readers for shard in reader.shards]
    cache = ASSUMED_CACHE if cache_gigabytes is None else cache_gigabytes * 1e9
    all_fit = sum(shards) <= cache
    return choose_lanes(packs_per_step, 1 if all_fit else sum(shards) / len(shards), cache)


def describe_order(order: Order | LaneOrder, readers: Sequence[PackReader], packs_per_step: int) -> str:
    """The order of a run as the line that is printed before step 1."""
    if isinstance(order, Order):
        return f"order            windows of {order.window} shards of each source (data.shuffle_window)"
    shards = [shard.bytes for reader in readers for shard in reader.shards]
    in_use = min(sum(shards), order.lanes * sum(shards) / len(shards))
    line = (
        f"order            {order.lanes:,} lanes (data.lanes): on one node {in_use / 1e9:,.2f} GB of shards are in use "
        f"at a time, on more nodes each has its part; enough for {max(1, order.lanes // _LANES_PER_NODE):,} nodes"
    )
    if order.lanes < packs_per_step and packs_per_step % order.lanes == 0:
        line += ". Smaller shards (`cmbert data prepare` writes 16 MB) or a larger data.cache_gigabytes allow more"
    return line


def describe_shards(readers: Sequence[PackReader]) -> str:
    """For how many nodes the shards of a data set are suitable, for people who look at it before a run.

    Nodes download 1 + (sources on a node) x nodes / shards times the data set per epoch, if each has at least 4 lanes.
    """
    shards = [shard.bytes for reader in readers for shard in reader.shards]
    mean = sum(shards) / len(shards)
    nodes = max(1, min(_lanes_that_fit(mean, ASSUMED_CACHE) // _LANES_PER_NODE, len(shards) // (5 * len(readers))))
    line = (
        f"{len(shards):,} training shards of {mean / 1e6:,.1f} MB on average: up to {nodes:,} node{'s' * (nodes > 1)} "
        "download at most 1.2 x the data set per epoch"
    )
    return line + ("; `cmbert data prepare` now writes shards of 16 MB, for more" if mean > 2 * SHARD_BYTES else "")
