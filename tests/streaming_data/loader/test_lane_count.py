"""How many lanes a run has."""

from types import SimpleNamespace
from typing import cast

import pytest

from clinical_modernbert.streaming_data.loader.lane_count import (
    ASSUMED_CACHE,
    choose_lanes,
    describe_order,
    describe_shards,
)
from clinical_modernbert.streaming_data.loader.lanes import LaneOrder
from clinical_modernbert.streaming_data.loader.order import Order
from clinical_modernbert.streaming_data.shards.mds import PackReader, Shard


@pytest.mark.parametrize(
    ("packs_per_step", "shard_bytes", "cache", "expected"),
    [
        (1024, 16 << 20, ASSUMED_CACHE, 1024),
        (1024, 64 << 20, ASSUMED_CACHE, 256),  # 317 fit
        (576, 16 << 20, 10e9, 288),  # 397 fit
        (4096, 16 << 20, ASSUMED_CACHE, 1024),
        (48, 16 << 20, ASSUMED_CACHE, 48),
        (24, 16 << 20, ASSUMED_CACHE, 48),  # a small batch: several steps per round
        (2, 16 << 20, ASSUMED_CACHE, 64),
        (577, 16 << 20, 10e9, 64),  # no divisor but 1
        (1024, 16 << 20, 1e9, 39),  # too small for a divisor that would shuffle
        (1024, 16 << 20, 1e6, 1),
        (1024, 1, ASSUMED_CACHE, 1024),
    ],
)
def test_lanes_divide_the_batch_and_fit_into_the_cache(
    packs_per_step: int, shard_bytes: float, cache: float, expected: int
) -> None:
    assert choose_lanes(packs_per_step, shard_bytes, cache) == expected
    assert 1.5 * expected * shard_bytes <= cache or expected == 1


def readers(shards: int, size: int) -> list[PackReader]:
    return [cast(PackReader, SimpleNamespace(shards=[Shard("", size, "", 900)] * (shards // 4))) for _ in range(4)]


def test_what_is_printed_says_for_how_many_nodes_lanes_and_shards_are_enough() -> None:
    mix = Order([[5]], [1], 0, window=9)
    assert "windows of 9 shards" in describe_order(mix, readers(8, 1), 4)
    line = describe_order(LaneOrder(mix, 256), readers(1748, 64 << 20), 1024)
    assert "256 lanes" in line
    assert "17.18 GB" in line
    assert "64 nodes" in line
    assert "Smaller shards" in line
    assert "Smaller shards" not in describe_order(LaneOrder(mix, 1024), readers(7000, 16 << 20), 1024)
    assert describe_shards(readers(7000, 16 << 20)).endswith(
        "up to 317 nodes download at most 1.2 x the data set per epoch"
    )
    assert "up to 79 nodes" in describe_shards(readers(1748, 64 << 20))
    assert "now writes shards of 16 MB" in describe_shards(readers(1748, 64 << 20))
    assert "up to 1 node download" in describe_shards(readers(4, 1000))
