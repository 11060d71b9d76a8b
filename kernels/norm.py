"""Layer normalisation without a bias, alone or fused with the residual sum before it."""

import torch
import torch.nn.functional as F


def layer_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """x (T, d), weight (d,) -> (T, d); statistics in fp32."""
    return F.layer_norm(x, weight.shape, weight, None, eps)


def add_layer_norm(
    residual: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """(residual + x, its layer norm), each (T, d). The sum is rounded to its type before it is normalised."""
    total = residual + x
    return total, layer_norm(total, weight, eps)
