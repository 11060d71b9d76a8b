"""cos and sin of RoPE's angles, computed once for each base, length and device."""

from functools import lru_cache

import torch


def rope_tables(theta: float, length: int, dim: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """cos and sin of the angles of positions 0 .. >= length - 1, each fp32 (rows, dim / 2).

    Computed exactly as transformers does (fp32 frequencies times fp32 positions), so that an exported model meets
    the same angles at inference. Rows are rounded up to a power of two, so few tables are ever built.
    """
    rows = 1 << max(length - 1, 0).bit_length()
    return _tables(theta, rows, dim, device)


@lru_cache(maxsize=32)
def _tables(theta: float, rows: int, dim: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    with torch.inference_mode(False), torch.no_grad():
        exponents = torch.arange(0, dim, 2, dtype=torch.int64, device=device).float() / dim
        angles = torch.outer(torch.arange(rows, dtype=torch.float32, device=device), 1.0 / theta**exponents)
        return angles.cos(), angles.sin()
