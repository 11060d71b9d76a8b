"""Attention inside each packed sequence with plain PyTorch, on any device: the backend of machines without a GPU.

Each sequence is computed separately: no score between two sequences exists, and neither NaN nor inf can leak from one
to another. A sequence longer than its window is cut into chunks of queries. Each chunk attends to its own keys and to a
halo of `window` keys before and after (causal: before only), all chunks in one batched SDPA, so that the cost is linear
in the length.
"""

from functools import partial

import torch
import torch.nn.functional as F

from ..packed import PackedBatch
from ..rope import rotate_qk

CHUNK = 128
"""Queries per chunk of banded attention. With a window of 64, half of the computed scores are useful."""


def torch_attention(
    qkv: torch.Tensor,
    batch: PackedBatch,
    window: int | None,
    rope_theta: float,
    *,
    causal: bool = False,
    overwrite: bool = False,
) -> torch.Tensor:
    """(T, 3, H, D) -> (T, H, D); see `dispatch.packed_attention`."""
    inputs = qkv
    if qkv.device.type == "cpu" and qkv.dtype in (torch.bfloat16, torch.float16):
        inputs = qkv.float()  # SDPA's backward on a CPU is several times slower in 16 bits than in 32
    planes = rotate_qk(inputs, batch, rope_theta, overwrite=overwrite or inputs is not qkv)
    # split, not slices: its backward is one concatenation, whereas each slice's fills a zero tensor of T tokens
    per_sequence = zip(*(x.split(batch.lengths) for x in planes), strict=True)
    attend = partial(_attend, window=window, causal=causal)
    outputs = [attend(*(x.transpose(0, 1) for x in one)).transpose(0, 1) for one in per_sequence]
    return torch.cat(outputs).to(qkv.dtype) if outputs else qkv[:, 0]


def _attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *, window: int | None, causal: bool) -> torch.Tensor:
    """One sequence; q, k, v and the result are (H, L, D)."""
    length = q.shape[1]
    if length == 0:
        return v
    if window is None or length <= window + 1:
        return F.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=causal)[0]
    ahead = 0 if causal else window
    if length <= CHUNK + window + ahead:
        index = torch.arange(length, device=q.device)
        mask = _attends(index[:, None] - index[None, :], window, ahead)
        return F.scaled_dot_product_attention(q[None], k[None], v[None], attn_mask=mask)[0]
    return _banded(q, k, v, window, ahead)


def _attends(distance: torch.Tensor, window: int, ahead: int) -> torch.Tensor:
    """Whether a query attends to the key at `distance` before it."""
    return (distance <= window) & (distance >= -ahead)


def _banded(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, window: int, ahead: int) -> torch.Tensor:
    """One sequence, (H, L, D) each, as a batch of chunks of CHUNK queries and window + CHUNK + ahead keys."""
    heads, length, dim = q.shape
    chunks = -(-length // CHUNK)
    padding = chunks * CHUNK - length
    span = window + CHUNK + ahead

    def with_halo(x: torch.Tensor) -> torch.Tensor:  # (chunks, H, span, D)
        return F.pad(x, (0, 0, window, ahead + padding)).unfold(1, span, CHUNK).permute(1, 0, 3, 2)

    queries = F.pad(q, (0, 0, 0, padding)).view(heads, chunks, CHUNK, dim).transpose(0, 1)
    first = torch.arange(chunks, device=q.device)[:, None, None] * CHUNK
    query = torch.arange(CHUNK, device=q.device)[:, None]
    key = torch.arange(span, device=q.device)[None, :] - window
    mask = _attends(query - key, window, ahead) & (first + key >= 0) & (first + key < length)
    mask |= first + query >= length  # padded queries attend to all keys, so that they stay finite; cut off below
    out = F.scaled_dot_product_attention(queries, with_halo(k), with_halo(v), attn_mask=mask[:, None])
    return out.transpose(0, 1).reshape(heads, chunks * CHUNK, dim)[:, :length]
