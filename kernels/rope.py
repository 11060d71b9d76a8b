"""Rotary position embedding (Su et al., 2021, arXiv:2104.09864) of packed q and k, in pairs (i, i + D/2).

Angles and rotation are fp32 whatever the activations' type: at position 8,191 a bf16 angle would be off by radians.
"""

from functools import lru_cache
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from .packed import PackedBatch


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


def rotate_qk(qkv: torch.Tensor, batch: PackedBatch, theta: float) -> torch.Tensor:
    """The rotated q and k of `qkv` (T, 3, H, D), as a new tensor (T, 2, H, D) of the same type; differentiable."""
    cos, sin = rope_tables(theta, batch.max_seqlen, qkv.shape[-1], qkv.device)
    positions = batch.positions.long()
    rotated: torch.Tensor = _RotateQK.apply(qkv, cos[positions], sin[positions])
    return rotated


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """x (T, n, H, D) turned by the angles of cos and sin (T, D/2), in fp32 (fp64 if x is); same type as x."""
    cos, sin = cos[:, None, None], sin[:, None, None]
    first, second = x.to(torch.promote_types(x.dtype, torch.float32)).chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1).to(x.dtype)


class _RotateQK(torch.autograd.Function):
    """Backward is the opposite turn, so nothing of size (T, ...) is kept but the angles."""

    @staticmethod
    def forward(ctx: Any, qkv: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(cos, sin)
        return rotate(qkv[:, :2], cos, sin)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        grad_qkv = grad.new_zeros(grad.shape[0], 3, *grad.shape[2:])
        grad_qkv[:, :2] = rotate(grad, cos, -sin)
        return grad_qkv, None, None
