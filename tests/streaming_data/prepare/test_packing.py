"""Packing keeps every segment exactly once and intact, is deterministic, respects the capacity, and fills packs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinical_modernbert.streaming_data.prepare.packing import best_fit, plan_packs


@settings(max_examples=200, deadline=None)
@given(lengths=st.lists(st.integers(1, 64)), window=st.integers(1, 40))
def test_every_segment_is_in_exactly_one_pack(lengths: list[int], window: int) -> None:
    packs = list(plan_packs(iter(lengths), 64, window))
    assert sorted(number for pack in packs for number in pack) == list(range(len(lengths)))
    assert all(0 < sum(lengths[number] for number in pack) <= 64 for pack in packs)


@settings(max_examples=50, deadline=None)
@given(lengths=st.lists(st.integers(1, 64)), window=st.integers(1, 40))
def test_packing_is_deterministic(lengths: list[int], window: int) -> None:
    assert list(plan_packs(lengths, 64, window)) == list(plan_packs(lengths, 64, window))


@settings(max_examples=200, deadline=None)
@given(lengths=st.lists(st.integers(1, 50)))
def test_best_fit_uses_the_fullest_bin_with_room(lengths: list[int]) -> None:
    """Compared with a linear search by the definition."""
    rooms: list[int] = []
    expected: list[list[int]] = []
    for item in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        fitting = [room for room in rooms if room >= lengths[item]]
        if fitting:
            number = rooms.index(min(fitting))
        else:
            number = len(rooms)
            rooms.append(50)
            expected.append([])
        rooms[number] -= lengths[item]
        expected[number].append(item)
    result = best_fit(lengths, 50)
    assert sorted(50 - sum(lengths[item] for item in members) for members in result) == sorted(rooms)
    assert len(result) == len(expected)


@pytest.mark.parametrize("length", [0, 11])
def test_an_item_that_does_not_fit_is_an_error(length: int) -> None:
    with pytest.raises(ValueError, match="does not fit a capacity of 10"):
        best_fit([length], 10)


def test_packs_of_a_realistic_mix_are_full() -> None:
    """Length distributions of PubMed, radiology reports, discharge summaries and codes, in windows of 4,096."""
    rng = np.random.default_rng(0)
    distributions = [
        (300, 0.55, 8, 2500, 9000),
        (260, 0.75, 10, 4000, 6000),
        (3200, 0.55, 60, 8192, 900),
        (24, 0.45, 4, 120, 3000),
    ]
    lengths = [
        rng.lognormal(np.log(mean) - sigma**2 / 2, sigma, count).round().clip(low, high).astype(int)
        for mean, sigma, low, high, count in distributions
    ]
    mix = np.concatenate(lengths)
    rng.shuffle(mix)
    packs = list(plan_packs(mix.tolist(), 8192, 4096))
    assert int(mix.sum()) / (8192 * len(packs)) > 0.995
