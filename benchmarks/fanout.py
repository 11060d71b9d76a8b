"""Which bytes of a data set reach which node in an epoch, simulated with the orders that training reads.

    python benchmarks/fanout.py                    # the table of docs/streaming.md
    python benchmarks/fanout.py --shards 1750 --lanes 512

Every step of one epoch is computed for every node (8 GPUs), and each node has a cache of so many shards, from which the
least recently used are removed. Nothing is downloaded. Shards hold fewer packs than real ones, so that an epoch is
computed in minutes: a lane then changes its shard more often, but how many shards an epoch brings to a node does not
depend on it. Sources have 60, 30, 9 and 1 % of the packs.
"""

import argparse
import random
from bisect import bisect_right
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator
from statistics import fmean

from clinical_modernbert.configs.reporting import run_program
from clinical_modernbert.streaming_data.loader.lanes import LaneOrder
from clinical_modernbert.streaming_data.loader.order import Order, PackAddress

SHARES = (0.60, 0.30, 0.09, 0.01)
GPUS_PER_NODE = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=int, default=7000, help="of the data set (7,000 of 16 MB are 112 GB)")
    parser.add_argument("--shard-packs", type=int, default=16, help="packs per shard")
    parser.add_argument("--batch", type=int, default=1024, help="packs per step")
    parser.add_argument("--lanes", type=int, nargs="+", default=[256, 512, 1024])
    parser.add_argument("--gpus", type=int, nargs="+", default=[8, 64, 512, 1024])
    parser.add_argument("--windows", action="store_true", help="the order in shuffle windows, too")
    arguments = parser.parse_args()
    sizes = shard_sizes(arguments.shards, arguments.shard_packs)
    mix = Order(sizes, [sum(shards) for shards in sizes], seed=1)
    print(f"{arguments.shards:,} shards, {sum(mix.packs):,} packs, {arguments.batch:,} packs per step")
    print("a shard counts once for each node and epoch in which it is downloaded; the data set is 1")
    orders: dict[str, Order | LaneOrder] = {"windows of 16": mix} if arguments.windows else {}
    orders |= {f"{lanes:,} lanes": LaneOrder(mix, lanes) for lanes in arguments.lanes}
    for name, order in orders.items():
        lanes = order.lanes if isinstance(order, LaneOrder) else 0
        print(f"{name}: {quality(order, arguments.batch)}")
        for gpus in arguments.gpus:
            nodes = max(1, gpus // GPUS_PER_NODE)
            kept = int(1.5 * lanes / nodes) + 16 if lanes else 3 * 16 * len(sizes)
            brought = downloads(order, arguments.batch, nodes, kept)
            print(
                f"  {gpus:5,} GPUs: {sum(brought) / arguments.shards:7.2f} x the data set from the store, "
                f"{fmean(brought) / arguments.shards:6.3f} to a node, {max(brought) / fmean(brought):.2f} x that to "
                f"the busiest; {kept:,} shards kept",
                flush=True,
            )


def shard_sizes(shards: int, packs: int) -> list[list[int]]:
    """Packs of each shard of each source: nearly equal, and a last one that is not full."""
    rng = random.Random(0)
    return [
        [*(rng.randint(packs - 1, packs + 1) for _ in range(max(1, round(shards * share)) - 1)), rng.randint(1, packs)]
        for share in SHARES
    ]


def downloads(order: Order | LaneOrder, batch: int, nodes: int, kept: int) -> list[int]:
    """How many shards each node downloads in one epoch, if it keeps so many."""
    caches: list[OrderedDict[tuple[int, int], None]] = [OrderedDict() for _ in range(nodes)]
    brought = [0] * nodes
    for start, stop in steps(order, batch):
        for node, cache in enumerate(caches):
            for shard in dict.fromkeys(shards_of(order, order.share(start, stop, node, nodes))):
                brought[node] += shard not in cache
                cache[shard] = None
                cache.move_to_end(shard)
                while len(cache) > kept:
                    cache.popitem(last=False)
    return brought


def quality(order: Order | LaneOrder, batch: int) -> str:
    """How well packs are mixed: shards in a step, pairs of packs of a step from one shard, and for how long a shard is
    in use."""
    distinct, together = [], []
    first: dict[tuple[int, int], int] = {}
    last: dict[tuple[int, int], int] = {}
    end = 0
    for start, stop in steps(order, batch):
        counts = Counter(shards_of(order, order.between(start, stop)))
        distinct.append(len(counts))
        together.append(sum(count * (count - 1) for count in counts.values()) / (batch * (batch - 1)))
        for shard in counts:
            first.setdefault(shard, start)
            last[shard] = end = stop
    lives = fmean(last[shard] - first[shard] for shard in first) / end
    return (
        f"{fmean(distinct):,.0f} shards in a step, {fmean(together):.2%} of the pairs of packs in a step from one "
        f"shard, a shard in use for {lives:.0%} of the epoch"
    )


def steps(order: Order | LaneOrder, batch: int) -> Iterator[tuple[int, int]]:
    """The complete steps of one epoch."""
    mix = order.mix if isinstance(order, LaneOrder) else order
    total = sum(mix.packs)
    return ((start, start + batch) for start in range(0, total - batch + 1, batch))


def shards_of(order: Order | LaneOrder, packs: Iterable[PackAddress]) -> list[tuple[int, int]]:
    mix = order.mix if isinstance(order, LaneOrder) else order
    return [(pack.source, bisect_right(mix.first_packs[pack.source], pack.pack) - 1) for pack in packs]


if __name__ == "__main__":
    run_program(main)
