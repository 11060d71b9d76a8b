"""Rotary position embedding (Su et al., 2021, arXiv:2104.09864) of packed q and k, in pairs (i, i + D/2).

Angles and rotation are fp32 for every type of activations: at position 8,191 a bf16 angle would be off by radians.
"""

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from .devices import use_triton
from .packed import PackedBatch
from .rope_tables import rope_tables


def rotate_qk(qkv: torch.Tensor, batch: PackedBatch, theta: float, *, backend: str = "auto") -> torch.Tensor:
    """q and k of `qkv` (T, 3, H, D), rotated by their positions, as a new tensor (T, 2, H, D). Differentiable.

    Backends: auto, triton, torch.
    """
    rotated: torch.Tensor = _Rotate.apply(qkv, batch, theta, use_triton(backend, qkv.device))
    return rotated


def rotate_qk_(qkv: torch.Tensor, batch: PackedBatch, theta: float, *, backend: str = "auto") -> torch.Tensor:
    """Rotate q and k of `qkv` (T, 3, H, D) in place, leave v as it is, and return `qkv`.

    Differentiable, but `qkv` must not be a leaf. Backends: auto, triton, torch.
    """
    rotated: torch.Tensor = _RotateInPlace.apply(qkv, batch, theta, use_triton(backend, qkv.device))
    return rotated


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """x (T, n, H, D) rotated by the angles of cos and sin (T, D/2), in fp32 (fp64 if x is); same type as x."""
    cos, sin = cos[:, None, None], sin[:, None, None]
    first, second = x.to(torch.promote_types(x.dtype, torch.float32)).chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1).to(x.dtype)


class _Rotate(torch.autograd.Function):
    """Backward is the inverse rotation, so no activation is saved."""

    @staticmethod
    def forward(ctx: Any, qkv: torch.Tensor, batch: PackedBatch, theta: float, triton: bool) -> torch.Tensor:
        ctx.batch, ctx.theta, ctx.triton = batch, theta, triton
        return _rotated(qkv[:, :2], batch, theta, triton)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        grad_qkv = grad.new_zeros(grad.shape[0], 3, *grad.shape[2:])
        grad_qkv[:, :2] = _rotated(grad, ctx.batch, ctx.theta, ctx.triton, inverse=True)
        return grad_qkv, None, None, None


class _RotateInPlace(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv: torch.Tensor, batch: PackedBatch, theta: float, triton: bool) -> torch.Tensor:
        ctx.batch, ctx.theta, ctx.triton = batch, theta, triton
        ctx.mark_dirty(qkv)
        _rotate_(qkv[:, :2], batch, theta, triton)
        return qkv

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        grad = grad.clone(memory_format=torch.contiguous_format)  # autograd may share it with other nodes
        _rotate_(grad[:, :2], ctx.batch, ctx.theta, ctx.triton, inverse=True)
        return grad, None, None, None


def _rotated(
    qk: torch.Tensor, batch: PackedBatch, theta: float, triton: bool, *, inverse: bool = False
) -> torch.Tensor:
    """A rotated copy of q and k (T, 2, H, D)."""
    if triton:
        from .rope_triton import triton_rotate

        return triton_rotate(qk, batch.positions, batch.max_seqlen, theta, inverse)
    cos, sin = rope_tables(theta, batch.max_seqlen, qk.shape[-1], qk.device)
    positions = batch.positions.long()
    return rotate(qk, cos[positions], -sin[positions] if inverse else sin[positions])


def _rotate_(qk: torch.Tensor, batch: PackedBatch, theta: float, triton: bool, *, inverse: bool = False) -> None:
    if triton:
        from .rope_triton import triton_rotate_

        triton_rotate_(qk, batch.positions, batch.max_seqlen, theta, inverse)
    else:
        qk.copy_(_rotated(qk, batch, theta, False, inverse=inverse))
