"""Layer normalization without a bias, alone or fused with the residual sum before it."""

import torch
import torch.nn.functional as F

from .devices import use_triton


def layer_norm(x: torch.Tensor, weight: torch.Tensor, eps: float, *, backend: str = "auto") -> torch.Tensor:
    """x (T, d), weight (d,) -> (T, d); statistics in fp32. Backends: auto, triton, torch."""
    _check(x, weight)
    if use_triton(backend, x.device):
        from .norm_triton import triton_add_layer_norm

        return triton_add_layer_norm(None, x, weight, eps)[1]
    return F.layer_norm(x, weight.shape, weight, None, eps)


def add_layer_norm(
    residual: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, eps: float, *, backend: str = "auto"
) -> tuple[torch.Tensor, torch.Tensor]:
    """(residual + x, its layer norm), each (T, d). The sum is rounded to its type before it is normalized."""
    _check(x, weight)
    if residual.shape != x.shape or residual.dtype != x.dtype:
        raise ValueError(f"residual {tuple(residual.shape)} {residual.dtype} and x {tuple(x.shape)} {x.dtype} differ")
    if use_triton(backend, x.device):
        from .norm_triton import triton_add_layer_norm

        return triton_add_layer_norm(residual, x, weight, eps)[:2]
    total = residual + x
    return total, F.layer_norm(total, weight.shape, weight, None, eps)


def _check(x: torch.Tensor, weight: torch.Tensor) -> None:
    if x.dim() != 2 or weight.shape != x.shape[1:]:
        raise ValueError(f"x {tuple(x.shape)} must be (T, d) and weight {tuple(weight.shape)} (d,)")
