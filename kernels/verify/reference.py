"""Reference implementations of all kernels in plain PyTorch, for tests and benchmarks.

Each function computes in the type of its inputs. fp64 inputs give the exact result; bf16 inputs give the error of plain
PyTorch at that type, to which a kernel's own error is compared.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from ..rope_tables import rope_tables


def attention(
    qkv: torch.Tensor, lengths: Sequence[int], window: int | None, rope_theta: float, causal: bool = False
) -> torch.Tensor:
    """Dense attention, one sequence at a time: qkv (T, 3, H, D) -> (T, H, D)."""
    sequences = qkv.split(list(lengths))
    return torch.cat([_one_sequence(x, window, rope_theta, causal) for x in sequences]) if sequences else qkv[:, 0]


def _one_sequence(qkv: torch.Tensor, window: int | None, rope_theta: float, causal: bool) -> torch.Tensor:
    q, k, v = qkv.unbind(1)
    return softmax_attention(rotate(q, rope_theta), rotate(k, rope_theta), v, window, causal)


def softmax_attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int | None, causal: bool = False
) -> torch.Tensor:
    """One sequence, (L, H, D) each, without rotation."""
    scores = torch.einsum("ihd,jhd->hij", q, k) / math.sqrt(q.shape[-1])
    index = torch.arange(len(q), device=q.device)
    distance = index[:, None] - index
    if window is not None:
        scores = scores.masked_fill(distance.abs() > window, -math.inf)
    if causal:
        scores = scores.masked_fill(distance < 0, -math.inf)
    return torch.einsum("hij,jhd->ihd", scores.softmax(-1), v)


def rotate(x: torch.Tensor, theta: float) -> torch.Tensor:
    """One sequence x (L, H, D), rotated by RoPE at positions 0 to L - 1, in fp32 (fp64 if x is)."""
    exact = torch.promote_types(x.dtype, torch.float32)
    cos, sin = (table[: len(x), None].to(exact) for table in rope_tables(theta, len(x), x.shape[-1], x.device))
    first, second = x.to(exact).chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1).to(x.dtype)


def geglu(x: torch.Tensor) -> torch.Tensor:
    """(T, 2I) -> (T, I)."""
    gate, value = x.chunk(2, dim=-1)
    return F.gelu(gate) * value


def add_layer_norm(
    residual: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """(residual + x, its layer norm without bias)."""
    total = residual + x
    centered = total - total.mean(-1, keepdim=True)
    return total, centered / (centered.square().mean(-1, keepdim=True) + eps).sqrt() * weight


def mlm_loss(
    hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, targets: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """(summed cross-entropy, which rows have the largest logit at their target), from the full logits."""
    logits = hidden @ weight.t() + bias
    loss = F.cross_entropy(logits.to(torch.promote_types(logits.dtype, torch.float32)), targets, reduction="sum")
    return loss, logits.argmax(-1) == targets
