"""How many lanes a run has."""

import pytest

from clinical_modernbert.streaming_data.loader.lane_count import ASSUMED_CACHE, choose_lanes


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
