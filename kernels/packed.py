"""The layout of one batch of unpadded sequences, built once and shared by every layer.

The tokens of all sequences are concatenated into a single stream of T tokens. `PackedBatch` holds where each sequence
begins, the position of each token in its sequence, and the tiles of tokens that the kernels visit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

_ALIGNED = 4  # int32 values in 16 bytes
TILE_SIZES = (32, 64, 128)
"""Tokens per tile: every block size that the tuning table may use."""


@dataclass(frozen=True, eq=False)
class PackedBatch:
    """B sequences with T tokens in total.

    cu_seqlens: int32 (B+1,), where each sequence starts; the last entry is T.
    max_seqlen: tokens of the longest sequence (0 for an empty batch).
    attended: tokens in the sequence of a token, on average over all tokens, rounded down.
    positions: int32 (T,), the token's index inside its own sequence.
    lengths: tokens of each sequence, on the host; 0 is allowed.
    tiles: block size -> int32 (n, 2) rows (sequence, index of the tile in it). The longest sequences come first, so
        that the longest programs do not start last. n = sum of ceil(length / block): no tile is empty.
    """

    cu_seqlens: torch.Tensor
    max_seqlen: int
    attended: int
    positions: torch.Tensor
    lengths: tuple[int, ...]
    tiles: Mapping[int, torch.Tensor]

    @classmethod
    def from_lengths(cls, lengths: Sequence[int], device: torch.device | str) -> "PackedBatch":
        """Build from lengths on the host, with one asynchronous copy to `device` and no synchronization."""
        counts = np.asarray(lengths, dtype=np.int64).reshape(-1)
        if (counts < 0).any():
            raise ValueError(f"lengths must not be negative, got {counts.min()}")
        total = int(counts.sum())
        if total > np.iinfo(np.int32).max:
            raise ValueError(f"a batch must have at most {np.iinfo(np.int32).max} tokens, got {total}")
        starts = np.concatenate([[0], counts.cumsum()])
        positions = np.arange(total) - np.repeat(starts[:-1], counts)
        parts = [starts, positions, *(_tiles(counts, size).reshape(-1) for size in TILE_SIZES)]
        cu_seqlens, positions_, *tiles = _copy(parts, torch.device(device))
        return cls(
            cu_seqlens=cu_seqlens,
            max_seqlen=int(counts.max(initial=0)),
            attended=int((counts * counts).sum()) // max(total, 1),
            positions=positions_,
            lengths=tuple(counts.tolist()),
            tiles={size: table.view(-1, 2) for size, table in zip(TILE_SIZES, tiles, strict=True)},
        )


def _tiles(lengths: np.ndarray, size: int) -> np.ndarray:
    """(n, 2) rows (sequence, index of the tile in it), the longest sequences first."""
    order = np.argsort(-lengths, kind="stable")
    counts = -(-lengths[order] // size)
    ends = counts.cumsum()
    index = np.arange(counts.sum()) - np.repeat(ends - counts, counts)
    return np.stack([np.repeat(order, counts), index], axis=1)


def _copy(parts: Sequence[np.ndarray], device: torch.device) -> tuple[torch.Tensor, ...]:
    """Copy all parts to `device` as one int32 buffer, from pinned memory if it is a GPU so that the copy is async.

    Each part starts at a multiple of 16 bytes, whatever the sizes: Triton compiles another variant of a kernel for a
    pointer that is not aligned, in the middle of a run.
    """
    sizes = [part.size for part in parts]
    starts = np.concatenate([[0], np.cumsum([-(-size // _ALIGNED) * _ALIGNED for size in sizes])])
    buffer = torch.zeros(int(starts[-1]), dtype=torch.int32, pin_memory=device.type == "cuda")
    for part, start in zip(parts, starts, strict=False):
        buffer[start : start + part.size] = torch.from_numpy(part.astype(np.int32))
    copied = buffer.to(device, non_blocking=True)
    return tuple(copied[start : start + size] for start, size in zip(starts, sizes, strict=False))
