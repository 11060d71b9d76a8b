"""Packing: nothing lost, split, repeated or over; the same packs from the same pieces; and full."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinical_modernbert.streaming_data.prepare.chunking import Piece
from clinical_modernbert.streaming_data.prepare.packing import best_fit, pack


def make_pieces(lengths: list[int]) -> list[Piece]:
    """Pieces whose tokens tell them apart."""
    return [
        Piece(f"doc{number}", np.full(length, number % 60_000, np.uint16), np.arange(length) % 3 == 1)
        for number, length in enumerate(lengths)
    ]


@settings(max_examples=200, deadline=None)
@given(lengths=st.lists(st.integers(1, 64)), window=st.integers(1, 40))
def test_every_piece_is_whole_in_exactly_one_pack(lengths: list[int], window: int) -> None:
    pieces = make_pieces(lengths)
    found: Counter[tuple[str, bytes, bytes]] = Counter()
    for one in pack(pieces, 64, window):
        assert 0 < len(one.tokens) <= 64
        assert int(one.lengths.sum()) == len(one.tokens)
        ends = np.cumsum(one.lengths)
        tokens, starts = np.split(one.tokens, ends[:-1]), np.split(one.word_starts, ends[:-1])
        found.update((name, t.tobytes(), s.tobytes()) for name, t, s in zip(one.doc_ids, tokens, starts, strict=True))
    assert found == Counter((p.document_id, p.tokens.tobytes(), p.word_starts.tobytes()) for p in pieces)


@settings(max_examples=50, deadline=None)
@given(lengths=st.lists(st.integers(1, 64)), window=st.integers(1, 40))
def test_the_same_pieces_give_the_same_packs(lengths: list[int], window: int) -> None:
    first, second = (
        [(one.tokens.tobytes(), one.doc_ids) for one in pack(make_pieces(lengths), 64, window)] for _ in range(2)
    )
    assert first == second


@settings(max_examples=200, deadline=None)
@given(lengths=st.lists(st.integers(1, 50)))
def test_best_fit_takes_the_tightest_bin(lengths: list[int]) -> None:
    """Against the definition, by search."""
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
    got = best_fit(lengths, 50)
    assert sorted(50 - sum(lengths[item] for item in members) for members in got) == sorted(rooms)
    assert len(got) == len(expected)


@pytest.mark.parametrize("length", [0, 11])
def test_an_item_that_cannot_fit_is_an_error(length: int) -> None:
    with pytest.raises(ValueError, match="does not fit a capacity of 10"):
        best_fit([length], 10)


def test_packs_of_a_realistic_mix_are_full() -> None:
    """Lengths by the laws of PubMed, radiology reports, discharge summaries and codes, in windows of 4,096."""
    rng = np.random.default_rng(0)
    laws = [
        (300, 0.55, 8, 2500, 9000),
        (260, 0.75, 10, 4000, 6000),
        (3200, 0.55, 60, 8192, 900),
        (24, 0.45, 4, 120, 3000),
    ]
    lengths = [
        rng.lognormal(np.log(mean) - sigma**2 / 2, sigma, count).round().clip(low, high).astype(int)
        for mean, sigma, low, high, count in laws
    ]
    mix = np.concatenate(lengths)
    rng.shuffle(mix)
    packs = list(pack(make_pieces(mix.tolist()), 8192, 4096))
    assert sum(len(one.tokens) for one in packs) / (8192 * len(packs)) > 0.995
