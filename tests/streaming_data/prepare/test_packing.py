"""Packing keeps every segment exactly once and intact, is deterministic, respects the capacity, and fills packs."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinical_modernbert.streaming_data.prepare.chunking import Segment
from clinical_modernbert.streaming_data.prepare.packing import best_fit, pack


def make_segments(lengths: list[int]) -> list[Segment]:
    """Segments with distinct tokens."""
    return [
        Segment(f"doc{number}", np.full(length, number % 60_000, np.uint16), np.arange(length) % 3 == 1)
        for number, length in enumerate(lengths)
    ]


@settings(max_examples=200, deadline=None)
@given(lengths=st.lists(st.integers(1, 64)), window=st.integers(1, 40))
def test_every_segment_is_intact_in_exactly_one_pack(lengths: list[int], window: int) -> None:
    segments = make_segments(lengths)
    packed: Counter[tuple[str, bytes, bytes]] = Counter()
    for one in pack(segments, 64, window):
        assert 0 < len(one.tokens) <= 64
        assert int(one.lengths.sum()) == len(one.tokens)
        ends = np.cumsum(one.lengths)
        tokens, starts = np.split(one.tokens, ends[:-1]), np.split(one.word_starts, ends[:-1])
        packed.update((name, t.tobytes(), s.tobytes()) for name, t, s in zip(one.doc_ids, tokens, starts, strict=True))
    assert packed == Counter((s.document_id, s.tokens.tobytes(), s.word_starts.tobytes()) for s in segments)


@settings(max_examples=50, deadline=None)
@given(lengths=st.lists(st.integers(1, 64)), window=st.integers(1, 40))
def test_packing_is_deterministic(lengths: list[int], window: int) -> None:
    first, second = (
        [(one.tokens.tobytes(), one.doc_ids) for one in pack(make_segments(lengths), 64, window)] for _ in range(2)
    )
    assert first == second


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
    packs = list(pack(make_segments(mix.tolist()), 8192, 4096))
    assert sum(len(one.tokens) for one in packs) / (8192 * len(packs)) > 0.995
