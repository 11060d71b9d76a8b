"""The order in lanes, by brute force against its promises, and how many shards a node reads."""

import random
from collections import Counter
from itertools import chain, pairwise

import pytest

from clinical_modernbert.streaming_data.loader import order as order_module
from clinical_modernbert.streaming_data.loader.counter_rng import random_bits
from clinical_modernbert.streaming_data.loader.lanes import LaneOrder
from clinical_modernbert.streaming_data.loader.order import Order, PackAddress

WORLDS = (1, 2, 3, 4, 8)


def random_order(rng: random.Random, seed: int) -> tuple[Order, LaneOrder]:
    """Up to five sources, small and large, in proportion and not, with and without limits; few and many lanes."""
    sizes = [
        [rng.randint(1, 20) for _ in range(rng.choice([1, 2, 7, 30, 60]))] for _ in range(rng.choice([1, 2, 3, 4, 5]))
    ]
    packs = [sum(shards) for shards in sizes]
    weights = packs if rng.random() < 0.4 else [rng.uniform(0.02, 1) for _ in packs]
    limits = [rng.choice([None, max(1, int(count * rng.uniform(0.2, 3.2)))]) for count in packs]
    mix = Order(sizes, weights, seed, limits=limits if rng.random() < 0.6 else None)
    return mix, LaneOrder(mix, rng.choice([1, 2, 8, 24, 36, 64, 100, 256]))


def random_steps(rng: random.Random, lanes: int, end: int) -> list[tuple[int, int]]:
    """Steps of a run: a warm-up of the batch size, steps that skip packs after them, and the full batch."""
    batch, start, steps = rng.choice([lanes, 2 * lanes, rng.randint(1, 80)]), 0, []
    while start < end:
        size = batch if start > end // 4 else rng.randint(1, batch)
        steps.append((start, min(start + size, end)))
        start = steps[-1][1]
    return steps


def check_order(mix: Order, order: LaneOrder, rng: random.Random) -> None:
    total = sum(mix.packs)
    ends = order.length <= 3 * total
    end = int(order.length) if ends else -(-2 * total // order.lanes) * order.lanes
    read: list[PackAddress] = []
    for start, stop in random_steps(rng, order.lanes, end):
        step = order.between(start, stop)
        assert order.source_counts(start) == [sum(pack.source == i for pack in read) for i in range(len(mix.packs))]
        for world in WORLDS:
            shares = [order.share(start, stop, rank, world) for rank in range(world)]
            assert Counter(chain(*shares)) == Counter(step), world
            assert max(map(len, shares)) - min(map(len, shares)) <= 1, world
        read += step
    assert order.source_counts(end) == mix.source_counts(end)
    for number in range(0, end, order.lanes):  # every round holds what the order of before has in it
        counts = Counter(pack.source for pack in read[:number])
        assert [counts[source] for source in range(len(mix.packs))] == mix.source_counts(number)
    assert max(Counter(read).values()) == 1, "a pack twice in an epoch"
    held = Counter((pack.source, pack.epoch) for pack in read)
    for source, count in enumerate(mix.source_counts(end)):
        epochs, rest = divmod(count, mix.packs[source])
        expected = [mix.packs[source]] * epochs + [rest] * (rest > 0)
        assert [held[source, epoch] for epoch in range(len(expected))] == expected, "an epoch is not complete"
        assert sum(expected) == sum(number for (at, _), number in held.items() if at == source)
    if ends:
        with pytest.raises(ValueError, match="the order ends with"):
            order.between(end, end + 1)
    start = rng.randrange(end)
    fresh = LaneOrder(Order(mix.shard_sizes, mix.rates, mix.seed, limits=mix.limits), order.lanes)
    assert fresh.between(start, min(start + 40, end), 3) == read[start : start + 40 : 3]


def test_every_epoch_is_complete_and_a_step_is_the_same_at_any_world_size() -> None:
    for case in range(30):
        rng = random.Random(case)
        mix, order = random_order(rng, case)
        try:
            check_order(mix, order, rng)
        except AssertionError as error:
            raise AssertionError(f"case {case}: {order.lanes} lanes, {mix.shard_sizes}, {mix.limits}") from error
