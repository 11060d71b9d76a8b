"""Bidirectional attention inside each sequence of a packed batch: one call, several backends."""

import torch

from .attention_torch import torch_attention
from .packed import PackedBatch


def packed_attention(
    qkv: torch.Tensor, batch: PackedBatch, *, window: int | None, rope_theta: float, backend: str = "auto"
) -> torch.Tensor:
    """Rotate q and k by their positions, then attend inside each sequence.

    qkv: (T, 3, H, D), q, k and v of T packed tokens; not modified.
    window: a token attends to keys at most `window` tokens away on either side (|i - j| <= window); None is all.
        Hugging Face's `local_attention=128` is window=64.
    rope_theta: base of the rotary frequencies; applied in fp32.
    Returns (T, H, D).
    """
    if qkv.dim() != 4 or qkv.shape[1] != 3:
        raise ValueError(f"qkv must be (T, 3, H, D), got {tuple(qkv.shape)}")
    if qkv.shape[0] != batch.positions.shape[0]:
        raise ValueError(f"qkv holds {qkv.shape[0]} tokens but the batch {batch.positions.shape[0]}")
    if window is not None and window < 0:
        raise ValueError(f"window must be None or at least 0, got {window}")
    if backend not in ("auto", "torch"):
        raise ValueError(f"unknown backend {backend!r}")
    return torch_attention(qkv, batch, window, rope_theta)
