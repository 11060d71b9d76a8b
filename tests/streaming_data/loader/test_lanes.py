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
        both = zip(order.source_counts(start), mix.source_counts(start), strict=True)
        assert all(abs(count - planned) <= 12 for count, planned in both), "far from the mix inside a round"
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


def check_cases(cases: range) -> None:
    for case in cases:
        rng = random.Random(case)
        mix, order = random_order(rng, case)
        try:
            check_order(mix, order, rng)
        except AssertionError as error:
            raise AssertionError(f"case {case}: {order.lanes} lanes, {mix.shard_sizes}, {mix.limits}") from error


def test_every_epoch_is_complete_and_a_step_is_the_same_at_any_world_size() -> None:
    check_cases(range(3))


@pytest.mark.slow
def test_every_epoch_is_complete_and_a_step_is_the_same_at_any_world_size_in_many_cases() -> None:
    check_cases(range(3, 30))


def test_any_pack_is_computed_alone_even_number_ten_to_the_twelve(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []

    def counted(count: int, *key: int | str) -> object:
        counts.append(count)
        return random_bits(count, *key)

    monkeypatch.setattr(order_module, "random_bits", counted)
    sizes = [[900] * 400, [900] * 200, [900] * 60, [100], [5]]

    def fresh() -> LaneOrder:
        return LaneOrder(Order(sizes, [50, 30, 15, 4, 1], 3, limits=[None, None, 10**6, None, None]), 256)

    start = 10**12 + 77
    step = fresh().between(start, start + 256)
    assert sum(counts) <= 60 * 1024 * len(sizes)  # no iteration over the packs before
    for number in (0, 100, 255):
        assert fresh().between(start + number, start + number + 1) == [step[number]]


@pytest.mark.slow
def test_a_rank_stays_in_its_shards_and_neighbors_hardly_share_any() -> None:
    """With the lanes of a batch, the ranks of 16 nodes download little more than the data set together."""
    sizes = [[30] * 240, [30] * 120, [30] * 36, [30] * 4]
    lanes, nodes = 64, 16
    mix = Order(sizes, [sum(shards) for shards in sizes], 1)
    for batch, most in ((lanes, 1.25), (2 * lanes, 1.25), (48, 4)):
        downloads = {
            name: sum(
                len({(pack.source, pack.pack // 30) for start in range(0, 12_000 - batch, batch)
                     for pack in order.share(start, start + batch, node, nodes)})
                for node in range(nodes)
            ) / 400
            for name, order in (("lanes", LaneOrder(mix, lanes)), ("windows", mix))
        }  # fmt: skip
        assert downloads["lanes"] < most, batch
        assert downloads["windows"] > 10, batch


def test_a_lane_reads_one_shard_after_another_together_with_its_neighbor() -> None:
    mix = Order([[60] * 150], [1], 3)  # 90 packs for each lane
    order = LaneOrder(mix, 100)
    of_lane: dict[int, list[int]] = {lane: [] for lane in range(100)}
    for start in range(0, 9_000, 100):
        step = [pack.pack // 60 for pack in order.share(start, start + 100, 0, 1)]
        assert len(set(step)) >= 50
        for lane, shard in enumerate(step):
            of_lane[lane].append(shard)
    use: dict[int, set[int]] = {}
    for shards in of_lane.values():
        changes = sum(one != other for one, other in pairwise(shards))
        assert changes == len(set(shards)) - 1 <= 2
        for step_number, shard in enumerate(shards):
            use.setdefault(shard, set()).add(step_number)
    assert max(max(steps) - min(steps) for steps in use.values()) < 60


def test_steps_that_are_no_divisor_of_a_round_are_spread_over_the_lanes() -> None:
    order = LaneOrder(Order([[60] * 150], [1], 3), 100)
    for batch in (25, 48, 50, 200, 250):
        steps = [(start, start + batch) for start in range(0, 9_000 - batch, batch)]
        for rank in range(5):
            shards = {pack.pack // 60 for step in steps for pack in order.share(*step, rank, 5)}
            assert len(shards) <= 1.4 * 150 / 5, batch


def test_epochs_and_seeds_are_shuffled_anew() -> None:
    orders = [
        LaneOrder(Order([[50] * 20], [1], seed), 10).between(start, start + 1000)
        for seed in (0, 1)
        for start in (0, 1000)
    ]
    for i, first in enumerate(orders):
        for second in orders[:i]:
            assert sum(a.pack == b.pack for a, b in zip(first, second, strict=True)) < 20


def test_the_stream_of_existing_checkpoints_does_not_change() -> None:
    order = LaneOrder(Order([[4, 4], [3]], [2, 1], 7), 4)
    assert order.between(5, 10) == [(1, 0, 1), (0, 0, 4), (0, 0, 5), (1, 0, 2), (0, 0, 1)]
    with pytest.raises(ValueError, match="at least one lane"):
        LaneOrder(order.mix, 0)
