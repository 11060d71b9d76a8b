"""Gated GELU (Shazeer, 2020, arXiv:2002.05202), the exact erf GELU as in ModernBERT."""

import torch
import torch.nn.functional as F


def geglu(x: torch.Tensor) -> torch.Tensor:
    """x (T, 2I) -> (T, I): gelu(x[:, :I]) * x[:, I:]."""
    gate, value = x.chunk(2, dim=-1)
    return F.gelu(gate) * value
