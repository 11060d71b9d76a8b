"""PackedBatch: sequence starts, positions and tiles."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clinical_modernbert.kernels.packed import TILE_SIZES, PackedBatch

lengths_strategy = st.lists(st.integers(0, 300), max_size=12)


@given(lengths_strategy)
def test_starts_positions_and_lengths(lengths: list[int]) -> None:
    batch = PackedBatch.from_lengths(lengths, "cpu")
    assert batch.cu_seqlens.tolist() == [sum(lengths[:i]) for i in range(len(lengths) + 1)]
    assert batch.positions.tolist() == [i for length in lengths for i in range(length)]
    assert batch.lengths == tuple(lengths)
    assert batch.max_seqlen == max(lengths, default=0)
    assert {x.dtype for x in (batch.cu_seqlens, batch.positions, *batch.tiles.values())} == {torch.int32}


@given(lengths_strategy)
def test_each_part_is_aligned_to_16_bytes(lengths: list[int]) -> None:
    """Triton compiles another variant of a kernel for an unaligned pointer."""
    batch = PackedBatch.from_lengths(lengths, "cpu")
    parts = (batch.cu_seqlens, batch.positions, *batch.tiles.values())
    assert [part.data_ptr() % 16 for part in parts if part.numel()] == [0] * sum(part.numel() > 0 for part in parts)


@given(lengths_strategy)
def test_tiles_cover_every_token_once_with_the_longest_sequences_first(lengths: list[int]) -> None:
    batch = PackedBatch.from_lengths(lengths, "cpu")
    for size in TILE_SIZES:
        tiles = batch.tiles[size].tolist()
        covered = [(s, i) for s, tile in tiles for i in range(tile * size, min(tile * size + size, lengths[s]))]
        assert sorted(covered) == [(s, i) for s, length in enumerate(lengths) for i in range(length)]
        assert all(tile * size < lengths[s] for s, tile in tiles)
        visited = [lengths[s] for s, _ in tiles]
        assert visited == sorted(visited, reverse=True)


def test_one_long_and_many_short_documents_need_few_tiles() -> None:
    batch = PackedBatch.from_lengths([8192, *[8] * 300], "cpu")
    assert len(batch.tiles[128]) == 8192 // 128 + 300


def test_negative_length_is_rejected() -> None:
    with pytest.raises(ValueError, match="must not be negative, got -3"):
        PackedBatch.from_lengths([4, -3], "cpu")
