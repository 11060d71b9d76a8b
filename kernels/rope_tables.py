"""Cosines and sines of RoPE's angles, computed once per base, length and device."""

from functools import lru_cache

import torch


def rope_tables(theta: float, length: int, dim: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """cos and sin of the angles of positions 0 to rows - 1, each fp32 (rows, dim / 2), with rows >= length.

    Computed exactly as in transformers (fp32 frequencies times fp32 positions), so that an exported model uses the same
    angles at inference. `rows` is `length` rounded up to a power of two, so that few tables are built.
    """
    rows = 1 << max(length - 1, 0).bit_length()
    return _tables(theta, rows, dim, device)


@lru_cache(maxsize=32)
def _tables(theta: float, rows: int, dim: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.inference_mode(False), torch.no_grad():
        exponents = torch.arange(0, dim, 2, dtype=torch.int64, device=device).float() / dim
        angles = torch.outer(torch.arange(rows, dtype=torch.float32, device=device), 1.0 / theta**exponents)
        return angles.cos(), angles.sin()
