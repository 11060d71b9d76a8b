"""Attention by flash-attn 2, 3 and 4, or by PyTorch's own `varlen_attn`: optional, and CUDA only.

The four libraries compute the same function and differ in import path, in how a full window is spelt, and in what they
return. q and k are rotated by our RoPE kernel before.
"""

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch

from ..packed import PackedBatch
from ..rope import rotate_qk


@dataclass(frozen=True)
class Library:
    """module and function to import; how a full window is spelt; the keywords that are its own; what installs it."""

    module: str
    function: str
    full_window: tuple[int, int] | tuple[None, None]
    names: tuple[str, str, str, str]
    extra: dict[str, Any]
    install: str


_FLASH_NAMES = ("cu_seqlens_q", "cu_seqlens_k", "max_seqlen_q", "max_seqlen_k")
LIBRARIES = {
    "flash4": Library(
        "flash_attn.cute", "flash_attn_varlen_func", (None, None), _FLASH_NAMES, {"deterministic": True},
        "pip install --pre flash-attn-4",
    ),
    "flash3": Library(
        "flash_attn_interface", "flash_attn_varlen_func", (-1, -1), _FLASH_NAMES, {"deterministic": True},
        "build the hopper directory of the flash-attention repository",
    ),
    "flash2": Library(
        "flash_attn", "flash_attn_varlen_func", (-1, -1), _FLASH_NAMES, {"deterministic": True},
        "pip install flash-attn",
    ),
    "varlen": Library(
        "torch.nn.attention.varlen", "varlen_attn", (-1, -1), ("cu_seq_q", "cu_seq_k", "max_q", "max_k"), {},
        "pip install 'torch>=2.13'",
    ),
}  # fmt: skip


def flash_attention(
    library: str, qkv: torch.Tensor, batch: PackedBatch, window: int | None, rope_theta: float
) -> torch.Tensor:
    """(T, 3, H, D) -> (T, H, D) by one of LIBRARIES; see `attention.packed_attention`."""
    one = LIBRARIES[library]
    q, k = rotate_qk(qkv, batch, rope_theta).unbind(1)
    sizes = (batch.cu_seqlens, batch.cu_seqlens, batch.max_seqlen, batch.max_seqlen)
    out = _function(library)(
        q, k, qkv[:, 2],
        **dict(zip(one.names, sizes, strict=True)),
        window_size=one.full_window if window is None else (window, window),
        **one.extra,
    )  # fmt: skip
    return out[0] if isinstance(out, tuple) else out


@lru_cache
def _function(library: str) -> Callable[..., Any]:
    one = LIBRARIES[library]
    function: Callable[..., Any] = getattr(importlib.import_module(one.module), one.function)
    return function


def flash_obstacle(library: str, device: torch.device, dtype: torch.dtype, head_dim: int) -> str | None:
    """Why a library cannot compute this, with the cure where there is one; None if it can."""
    one = LIBRARIES[library]
    if device.type != "cuda":
        return f"needs a CUDA GPU, and the tensors are on {device.type}"
    if dtype not in (torch.float16, torch.bfloat16):
        return f"computes in fp16 and bf16 only, not in {dtype}"
    if head_dim > 256 or head_dim % 8:
        return f"needs a head size that 8 divides, at most 256, not {head_dim}"
    capability = torch.cuda.get_device_capability(device)
    if library == "flash3" and capability[0] != 9:
        return f"is for compute capability 9, this GPU has {capability[0]}.{capability[1]}"
    if library == "flash4" and capability[0] not in (9, 10):
        return f"is for compute capability 9 and 10, this GPU has {capability[0]}.{capability[1]}"
    if capability[0] < 8:
        return f"needs compute capability 8.0, this GPU has {capability[0]}.{capability[1]}"
    try:
        parameters = inspect.signature(_function(library)).parameters
    except (ImportError, AttributeError) as error:
        return f"cannot be imported ({error}): {one.install}"
    missing = {"window_size", *one.names, *one.extra} - set(parameters)
    return f"is of another version, without {', '.join(sorted(missing))}: {one.install}" if missing else None
