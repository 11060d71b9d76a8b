"""Gated GELU (Shazeer, 2020, arXiv:2002.05202), with the exact erf GELU as in ModernBERT."""

import torch
import torch.nn.functional as F

from .devices import use_triton


def geglu(x: torch.Tensor, *, backend: str = "auto") -> torch.Tensor:
    """x (T, 2I) -> (T, I): gelu(x[:, :I]) * x[:, I:]. Backends: auto, triton, torch."""
    if x.dim() != 2 or x.shape[1] % 2:
        raise ValueError(f"x must be (T, 2I), got {tuple(x.shape)}")
    if use_triton(backend, x.device):
        from .geglu_triton import triton_geglu

        return triton_geglu(x)
    gate, value = x.chunk(2, dim=1)
    return F.gelu(gate) * value
