"""The order of packs, against its own definition worked out by brute force with fractions."""

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinical_modernbert.streaming_data import order as order_module
from clinical_modernbert.streaming_data.counter_rng import permutation, random_bits
from clinical_modernbert.streaming_data.order import Order, PackAddress

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
    drawn = [pack.source for pack in Order(sizes, weights[: len(sizes)], seed).between(0, 1500)]
    held = np.cumsum(np.eye(len(sizes))[drawn], axis=0)
    meant = np.arange(1, 1501)[:, None] * shares
    assert (np.abs(held - meant) < 1 + shares * (len(sizes) - 2) + 1e-9).all()


def test_packs_pass_in_the_order_of_their_times() -> None:
    sizes, weights, count = [[40, 40], [7], [300] * 3], [Fraction(1, 2), Fraction(1, 8), Fraction(3, 8)], 2000
    times = []
    for source, weight in enumerate(weights):
        for chunk in range(count // 1024 + 1):
            phases = random_bits(1024, 3, "phase", source, chunk) >> np.uint64(32)
            for at, phase in enumerate(phases.tolist()):
                times.append(((chunk * 1024 + at + Fraction(phase, 2**32)) / weight, source, chunk * 1024 + at))
    expected = [(source, position // sum(sizes[source])) for _, source, position in sorted(times)[:count]]
    packs = Order(sizes, [4, 1, 3], 3).between(0, count)
    assert [(pack.source, pack.epoch) for pack in packs] == expected


@pytest.mark.parametrize("start", [0, 1000, 10**9 - 17, 10**12 + 1])
def test_a_stretch_is_its_parts_whatever_was_asked_before(start: int) -> None:
    sizes, weights = [[37] * 50, [5], [1], [400, 1, 3]], [0.7, 0.2, 1e-9, 0.1]
    order = Order(sizes, weights, 5)
    whole = order.between(start, start + 2500)
    rng = np.random.default_rng(0)
    for a, b, c in np.sort(rng.integers(start, start + 2500, (8, 3))).tolist():
        assert order.between(a, b) + order.between(b, c) == whole[a - start : c - start]
        assert Order(sizes, weights, 5).between(a, c) == whole[a - start : c - start]
        assert order.between(a, c, 7) == whole[a - start : c - start : 7]


def test_far_on_the_order_costs_no_more_than_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[int] = []

    def counted(count: int, *key: int | str) -> np.ndarray:
        drawn.append(count)
        return random_bits(count, *key)

    monkeypatch.setattr(order_module, "random_bits", counted)
    sizes = [[3700] * 500, [3700] * 200, [3700] * 100, [100], [5], [37]]
    order = in_proportion(sizes)
    order.between(10**9, 10**9 + 512)
    assert sum(drawn) <= 4 * 1024 * len(sizes)


def test_a_source_of_one_pack_and_a_tiny_share() -> None:
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


def test_any_pack_can_be_asked_for_alone() -> None:
    """At the edges of blocks of 1,024, where it is least clear in which of two a pack passes."""
    order = in_proportion([[300], [280], [260], [240], [220], [200]])
    whole = order.between(0, 20 * 1024)
    for edge in range(1024, 20 * 1024, 1024):
        for n in range(edge - 8, edge + 8):
            assert order.between(n, n + 1) == [whole[n]]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=40), SEEDS, st.integers(1, 7))
@settings(max_examples=50, deadline=None)
def test_packs_are_shuffled_inside_windows_of_whole_shards(sizes: list[int], seed: int, window: int) -> None:
    order = in_proportion([sizes], seed, window)
    shard_of = np.repeat(np.arange(len(sizes)), sizes)
    packs = [pack.pack for pack in order.between(0, sum(sizes))]
    seen: set[int] = set()
    while packs:
        shards = set(list(dict.fromkeys(shard_of[packs].tolist()))[:window])
        length = sum(sizes[shard] for shard in shards)
        # Which shards a window has shows only at its end: the first that closes on whole shards is one.
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


def test_what_cannot_be_ordered_is_refused() -> None:
    for weights in ([1.0], [0.0, 1.0], [-1.0, 2.0], [float("inf"), 1.0], [float("nan"), 1.0]):
        with pytest.raises(ValueError, match="one positive weight"):
            Order([[1], [1]], weights, 0)
    with pytest.raises(ValueError, match="at least one pack"):
        Order([[1], []], [1, 1], 0)


def test_bits_depend_on_the_whole_key_and_refuse_what_has_two_spellings() -> None:
    assert random_bits(3, 1, "a").tolist() == random_bits(5, 1, "a").tolist()[:3]
    assert len({tuple(random_bits(2, *key).tolist()) for key in ((1, 2), (12,), ("1", 2), (2, 1), (1, 2, 0))}) == 5
    assert len(random_bits(0, 1)) == 0
    with pytest.raises(TypeError):
        random_bits(1, np.int64(1))  # type: ignore[arg-type]


def test_permutations_are_uniform() -> None:
    counts = Counter(tuple(permutation(3, "p", number).tolist()) for number in range(6000))
    assert len(counts) == 6
    assert all(abs(count - 1000) < 5 * np.sqrt(1000 * 5 / 6) for count in counts.values())


def test_the_stream_is_the_one_that_checkpoints_rely_on() -> None:
    assert random_bits(2, 7, "phase", 0, 0).tolist() == [1584275072445743564, 1242729418484438267]
    packs = Order([[4, 4], [3]], [2, 1], 7).between(5, 10)
    assert packs == [(1, 0, 0), (0, 0, 0), (0, 0, 7), (1, 0, 1), (0, 0, 5)]
