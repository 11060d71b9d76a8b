"""The layout of one batch of unpadded sequences, built once and shared by every layer.

The tokens of all sequences are concatenated into a single stream of T tokens. `PackedBatch` holds where each sequence
begins, the position of each token in its sequence, and the tiles of tokens that the kernels visit.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

ALIGNMENT = 16
"""Bytes: where each array of a batch begins, in the buffer that is copied to the device, is a multiple of them."""
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
        device = torch.device(device)
        return StagedBatch.of(lengths, pin=device.type == "cuda").to(device)[0]


@dataclass(frozen=True, eq=False)
class StagedBatch:
    """A `PackedBatch`, and further arrays of a batch, in one buffer of host memory: one copy takes all to a device.

    Each array starts at a multiple of 16 bytes, whatever the sizes: Triton compiles another variant of a kernel for a
    pointer that is not aligned, in the middle of a run.

    buffer: uint8, pinned if the copy is to be asynchronous.
    layout: (offset in elements of its type, shape, type) of each array: those of the batch, then the further ones.
    lengths, max_seqlen, attended: as in `PackedBatch`.
    """

    buffer: torch.Tensor
    layout: tuple[tuple[int, tuple[int, ...], torch.dtype], ...]
    lengths: tuple[int, ...]
    max_seqlen: int
    attended: int

    @classmethod
    def of(cls, lengths: Sequence[int], arrays: Sequence[np.ndarray] = (), *, pin: bool = False) -> "StagedBatch":
        """Lay out the batch of sequences of these lengths, and `arrays`, contiguous ones of any shape.

        Raises:
            ValueError: a length is negative, or there are too many tokens for int32.
        """
        counts = np.asarray(lengths, dtype=np.int64).reshape(-1)
        if (counts < 0).any():
            raise ValueError(f"lengths must not be negative, got {counts.min()}")
        total = int(counts.sum())
        if total > np.iinfo(np.int32).max:
            raise ValueError(f"a batch must have at most {np.iinfo(np.int32).max} tokens, got {total}")
        starts = np.concatenate([[0], counts.cumsum()])
        positions = np.arange(total) - np.repeat(starts[:-1], counts)
        own = [starts, positions, *(_tiles(counts, size) for size in TILE_SIZES)]
        parts = [*(part.astype(np.int32) for part in own), *arrays]
        ends = np.cumsum([-(-part.nbytes // ALIGNMENT) * ALIGNMENT for part in parts])
        pinned = torch.empty(int(ends[-1]), dtype=torch.uint8, pin_memory=True) if pin else None
        memory = np.empty(int(ends[-1]), np.uint8) if pinned is None else pinned.numpy()
        layout = []
        for part, start in zip(parts, [0, *ends.tolist()], strict=False):
            memory[start : start + part.nbytes] = part.reshape(-1).view(np.uint8)
            layout.append((start // part.itemsize, part.shape, torch.from_numpy(np.empty(0, part.dtype)).dtype))
        buffer = torch.from_numpy(memory) if pinned is None else pinned
        attended = int((counts * counts).sum()) // max(total, 1)
        return cls(buffer, tuple(layout), tuple(counts.tolist()), int(counts.max(initial=0)), attended)

    def to(self, device: torch.device) -> tuple[PackedBatch, tuple[torch.Tensor, ...]]:
        """The batch and the further arrays on `device`, as views of one buffer; on the CPU, of this one."""
        buffer = self.buffer.to(device, non_blocking=True)
        typed = {dtype: buffer.view(dtype) for dtype in {dtype for _, _, dtype in self.layout}}
        cu_seqlens, positions, *others = (
            typed[dtype][start : start + math.prod(shape)].view(shape) for start, shape, dtype in self.layout
        )
        tiles = dict(zip(TILE_SIZES, others, strict=False))
        batch = PackedBatch(cu_seqlens, self.max_seqlen, self.attended, positions, self.lengths, tiles)
        return batch, tuple(others[len(TILE_SIZES) :])


def _tiles(lengths: np.ndarray, size: int) -> np.ndarray:
    """(n, 2) rows (sequence, index of the tile in it), the longest sequences first."""
    order = np.argsort(-lengths, kind="stable")
    counts = -(-lengths[order] // size)
    ends = counts.cumsum()
    index = np.arange(counts.sum()) - np.repeat(ends - counts, counts)
    return np.stack([np.repeat(order, counts), index], axis=1)
