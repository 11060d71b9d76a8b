"""The order of packs, compared with its definition computed by brute force with fractions."""

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinical_modernbert.streaming_data.loader import order as order_module
from clinical_modernbert.streaming_data.loader.counter_rng import permutation, random_bits
from clinical_modernbert.streaming_data.loader.order import Order, PackAddress

SIZES = st.lists(st.lists(st.integers(1, 30), min_size=1, max_size=12), min_size=1, max_size=6)
SEEDS = st.integers(0, 2**31)


def every_pack(sizes: list[list[int]], epoch: int) -> Counter[PackAddress]:
    return Counter(PackAddress(i, epoch, pack) for i, shards in enumerate(sizes) for pack in range(sum(shards)))


def in_proportion(sizes: list[list[int]], seed: int = 0, window: int = 16) -> Order:
    return Order(sizes, [sum(shards) for shards in sizes], seed, window)


@given(SIZES, SEEDS, st.integers(1, 5), st.integers(0, 10**9))
@settings(max_examples=60, deadline=None)
def test_with_proportional_weights_an_epoch_is_every_pack_once(
    sizes: list[list[int]], seed: int, window: int, epoch: int
) -> None:
    total = sum(map(sum, sizes))
    packs = in_proportion(sizes, seed, window).between(epoch * total, (epoch + 1) * total)
    assert Counter(packs) == every_pack(sizes, epoch)


@given(SIZES, st.lists(st.floats(1e-6, 1e6), min_size=6, max_size=6), SEEDS)
@settings(max_examples=40, deadline=None)
def test_every_prefix_holds_each_sources_share(sizes: list[list[int]], weights: list[float], seed: int) -> None:
    shares = np.array(weights[: len(sizes)]) / sum(weights[: len(sizes)])
    sources = [pack.source for pack in Order(sizes, weights[: len(sizes)], seed).between(0, 1500)]
    held = np.cumsum(np.eye(len(sizes))[sources], axis=0)
    expected = np.arange(1, 1501)[:, None] * shares
    assert (np.abs(held - expected) < 1 + shares * (len(sizes) - 2) + 1e-9).all()


def test_packs_are_in_the_order_of_their_timestamps() -> None:
    sizes, weights, count = [[40, 40], [7], [300] * 3], [Fraction(1, 2), Fraction(1, 8), Fraction(3, 8)], 2000
    timestamps = []
    for source, weight in enumerate(weights):
        for chunk in range(count // 1024 + 1):
            jitters = random_bits(1024, 3, "phase", source, chunk) >> np.uint64(32)
            for position, jitter in enumerate(jitters.tolist(), start=chunk * 1024):
                timestamps.append(((position + Fraction(jitter, 2**32)) / weight, source, position))
    expected = [(source, position // sum(sizes[source])) for _, source, position in sorted(timestamps)[:count]]
    packs = Order(sizes, [4, 1, 3], 3).between(0, count)
    assert [(pack.source, pack.epoch) for pack in packs] == expected


@pytest.mark.parametrize("start", [0, 1000, 10**9 - 17, 10**12 + 1])
def test_a_range_is_its_parts_whatever_was_requested_before(start: int) -> None:
    sizes, weights = [[37] * 50, [5], [1], [400, 1, 3]], [0.7, 0.2, 1e-9, 0.1]
    order = Order(sizes, weights, 5)
    whole = order.between(start, start + 2500)
    rng = np.random.default_rng(0)
    for a, b, c in np.sort(rng.integers(start, start + 2500, (8, 3))).tolist():
        assert order.between(a, b) + order.between(b, c) == whole[a - start : c - start]
        assert Order(sizes, weights, 5).between(a, c) == whole[a - start : c - start]
        assert order.between(a, c, 7) == whole[a - start : c - start : 7]


def test_the_order_costs_no_more_at_pack_one_billion(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []

    def counted(count: int, *key: int | str) -> np.ndarray:
        counts.append(count)
        return random_bits(count, *key)

    monkeypatch.setattr(order_module, "random_bits", counted)
    sizes = [[3700] * 500, [3700] * 200, [3700] * 100, [100], [5], [37]]
    order = in_proportion(sizes)
    order.between(10**9, 10**9 + 512)
    assert sum(counts) <= 4 * 1024 * len(sizes)


def test_a_source_with_one_pack_and_a_tiny_share() -> None:
    order = Order([[1], [1000]], [1, 10**9], 0)
    packs = order.between(0, 20_000)
    assert sum(pack.source == 0 for pack in packs) <= 1
    repeated = Order([[1], [2]], [1, 1], 0).between(0, 1000)
    assert sorted(pack.epoch for pack in repeated if pack.source == 0) == list(range(500))
    assert {pack.pack for pack in repeated if pack.source == 0} == {0}


def test_shuffles_differ_by_epoch_and_seed() -> None:
    def order_of(seed: int, epoch: int, window: int) -> list[int]:
        return [
            pack.pack for pack in in_proportion([[50] * 20], seed, window).between(epoch * 1000, epoch * 1000 + 1000)
        ]

    keys = ((0, 0), (0, 1), (1, 0), (1, 1))
    packs = [list(range(1000)), *(order_of(*key, window=16) for key in keys)]
    shards = [list(range(20)), *([pack // 50 for pack in order_of(*key, window=1)[::50]] for key in keys)]
    for orders, few in ((packs, 20), (shards, 8)):
        for i, first in enumerate(orders):
            for second in orders[:i]:
                assert sum(a == b for a, b in zip(first, second, strict=True)) < few


def test_any_pack_can_be_requested_alone() -> None:
    """At the edges of blocks of 1,024, where the block of a pack is least certain."""
    order = in_proportion([[300], [280], [260], [240], [220], [200]])
    whole = order.between(0, 20 * 1024)
    for edge in range(1024, 20 * 1024, 1024):
        for n in range(edge - 8, edge + 8):
            assert order.between(n, n + 1) == [whole[n]]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=40), SEEDS, st.integers(1, 7))
@settings(max_examples=50, deadline=None)
def test_packs_are_shuffled_inside_windows_of_complete_shards(sizes: list[int], seed: int, window: int) -> None:
    order = in_proportion([sizes], seed, window)
    shard_of = np.repeat(np.arange(len(sizes)), sizes)
    packs = [pack.pack for pack in order.between(0, sum(sizes))]
    seen: set[int] = set()
    while packs:
        shards = set(list(dict.fromkeys(shard_of[packs].tolist()))[:window])
        length = sum(sizes[shard] for shard in shards)
        # The shards of a window are known only at its end: the first prefix of complete shards is a window.
        while set(shard_of[packs[:length]].tolist()) != shards:
            shards |= set(shard_of[packs[:length]].tolist())
            length = sum(sizes[shard] for shard in shards)
        assert len(shards) <= window
        assert not shards & seen
        seen |= shards
        packs = packs[length:]


@pytest.mark.parametrize("start", [0, 700, 12_345, 10**9])
def test_the_shards_ahead_are_those_of_the_next_windows(start: int) -> None:
    sizes = [[20] * 40, [5, 6]]
    order = Order(sizes, [3, 1], 2, window=4)
    ahead = order.shards_ahead(start)
    assert len(ahead) == len(set(ahead)) <= 2 * (2 * 4)
    window = 4 * 20
    for pack in order.between(start, start + window):  # three quarters of them of the first source: within two windows
        shard = pack.pack // 20 if pack.source == 0 else int(pack.pack >= 5)
        assert (pack.source, shard) in ahead


def truncate_to_limits(packs: list[PackAddress], sizes: list[list[int]], limits: list[int | None]) -> list[PackAddress]:
    """The same packs in the same order, but at most the limit of each source."""
    kept: list[PackAddress] = []
    counts: Counter[int] = Counter()
    for pack in packs:
        limit = limits[pack.source]
        if limit is None or counts[pack.source] < limit:
            kept.append(pack)
        counts[pack.source] += 1
    return kept


@given(SIZES, st.lists(st.floats(1e-2, 1e2), min_size=6, max_size=6), SEEDS, st.data())
@settings(max_examples=25, deadline=None)
def test_a_limit_ends_a_source_and_changes_nothing_else(
    sizes: list[list[int]], weights: list[float], seed: int, data: st.DataObject
) -> None:
    limits = data.draw(st.tuples(*(st.none() | st.integers(1, 300) for _ in sizes)).map(list))
    weights = weights[: len(sizes)]
    endless, limited = Order(sizes, weights, seed), Order(sizes, weights, seed, limits=limits)
    expected = truncate_to_limits(endless.between(0, 2500), sizes, limits)
    assert limited.between(0, len(expected)) == expected
    for _ in range(3):
        start = data.draw(st.integers(0, len(expected)))
        stop = data.draw(st.integers(start, len(expected)))
        assert Order(sizes, weights, seed, limits=limits).between(start, stop, 3) == expected[start:stop:3]
        assert limited.source_counts(start) == [
            sum(pack.source == i for pack in expected[:start]) for i in range(len(sizes))
        ]


def test_the_share_of_a_source_at_its_limit_goes_to_the_others_in_proportion() -> None:
    order = Order([[100], [50], [80]], [4, 1, 3], 3, limits=[2000, None, None])
    assert order.source_counts(4000) == pytest.approx([2000, 500, 1500], abs=2)
    assert order.source_counts(10**9)[0] == 2000
    later = np.subtract(order.source_counts(10**9 + 4000), order.source_counts(10**9))
    assert later.tolist() == pytest.approx([0, 1000, 3000], abs=2)
    assert not [source for source, _ in order.shards_ahead(10**9) if source == 0]


def test_the_order_ends_when_all_sources_have_limits() -> None:
    sizes, limits = [[30, 20], [7]], [50, 21]
    order = Order(sizes, [1, 1], 3, limits=limits)
    assert order.length == 71
    packs = order.between(0, 71)
    assert Counter(packs) == every_pack([sizes[0]], 0) + Counter(
        PackAddress(1, epoch, pack) for epoch in range(3) for pack in range(7)
    )
    assert order.source_counts(71) == limits
    assert order.shards_ahead(71) == order.between(71, 71) == []
    with pytest.raises(ValueError, match="the order ends with 71 packs"):
        order.between(0, 72)
    endless = Order([[5]], [1], 3)
    assert endless.length == float("inf")


def test_invalid_weights_limits_and_sizes_are_refused() -> None:
    for limits in ([1], [0, 1]):
        with pytest.raises(ValueError, match="a limit of at least one pack"):
            Order([[1], [1]], [1, 1], 0, limits=limits)
    for weights in ([1.0], [0.0, 1.0], [-1.0, 2.0], [float("inf"), 1.0], [float("nan"), 1.0]):
        with pytest.raises(ValueError, match="one positive weight"):
            Order([[1], [1]], weights, 0)
    with pytest.raises(ValueError, match="at least one pack"):
        Order([[1], []], [1, 1], 0)


def test_bits_depend_on_the_entire_key_and_refuse_numpy_scalars() -> None:
    assert random_bits(3, 1, "a").tolist() == random_bits(5, 1, "a").tolist()[:3]
    assert len({tuple(random_bits(2, *key).tolist()) for key in ((1, 2), (12,), ("1", 2), (2, 1), (1, 2, 0))}) == 5
    assert len(random_bits(0, 1)) == 0
    with pytest.raises(TypeError):
        random_bits(1, np.int64(1))  # type: ignore[arg-type]


def test_permutations_are_uniform() -> None:
    counts = Counter(tuple(permutation(3, "p", number).tolist()) for number in range(6000))
    assert len(counts) == 6
    assert all(abs(count - 1000) < 5 * np.sqrt(1000 * 5 / 6) for count in counts.values())


def test_the_stream_of_existing_checkpoints_does_not_change() -> None:
    assert random_bits(2, 7, "phase", 0, 0).tolist() == [1584275072445743564, 1242729418484438267]
    packs = Order([[4, 4], [3]], [2, 1], 7).between(5, 10)
    assert packs == [(1, 0, 0), (0, 0, 0), (0, 0, 7), (1, 0, 1), (0, 0, 5)]
