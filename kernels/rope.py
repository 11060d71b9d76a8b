"""Rotary position embedding (Su et al., 2021, arXiv:2104.09864) of packed q and k, in pairs (i, i + D/2).

Angles and rotation are fp32 for every type of activations: at position 8,191 a bf16 angle would be off by radians.
"""

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from .devices import use_triton
from .packed import PackedBatch
from .rope_tables import rope_tables


def rotate_qk(
    qkv: torch.Tensor, batch: PackedBatch, theta: float, *, overwrite: bool = False, backend: str = "auto"
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """q, k and v of `qkv` (T, 3, H, D), each (T, H, D); q and k are rotated by their positions. Differentiable.

    overwrite: rotate in place, inside `qkv`; ValueError if it is a leaf. Otherwise q and k are copies.
    Backends: auto, triton, torch.
    """
    if overwrite:
        require_overwritable(qkv)
    rotated: tuple[torch.Tensor, torch.Tensor, torch.Tensor] = _Rotate.apply(
        qkv, batch, theta, use_triton(backend, qkv.device), overwrite
    )
    return rotated


def require_overwritable(qkv: torch.Tensor) -> None:
    """ValueError if `qkv` is a tensor that the caller owns, a leaf: its values would change without a trace."""
    if qkv.is_leaf and qkv.requires_grad:
        raise ValueError("qkv is a leaf that requires a gradient and cannot be overwritten: pass overwrite=False")


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """x (T, n, H, D) rotated by the angles of cos and sin (T, D/2), in fp32 (fp64 if x is); same type as x."""
    cos, sin = cos[:, None, None], sin[:, None, None]
    first, second = x.to(torch.promote_types(x.dtype, torch.float32)).chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1).to(x.dtype)


class _Rotate(torch.autograd.Function):
    """Backward is the inverse rotation, in place in the one gradient that is assembled from three."""

    @staticmethod
    def forward(
        ctx: Any, qkv: torch.Tensor, batch: PackedBatch, theta: float, triton: bool, overwrite: bool
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        ctx.batch, ctx.theta, ctx.triton = batch, theta, triton
        qkv = qkv.detach()  # shares its version: whoever saved the values from before gets an error in backward
        qk = qkv[:, :2]
        if overwrite:
            _rotate_(qk, batch, theta, triton)
        else:
            qk = _rotated(qk, batch, theta, triton)
        return qk[:, 0], qk[:, 1], qkv[:, 2]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None, None, None]:
        grad = torch.stack(grads, dim=1)
        _rotate_(grad[:, :2], ctx.batch, ctx.theta, ctx.triton, inverse=True)
        return grad, None, None, None, None


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
