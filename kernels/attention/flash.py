"""Attention by flash-attn 2, 3 and 4, or by PyTorch's own `varlen_attn`. All are optional and CUDA only.

The four libraries compute the same function. They differ in import path, in the argument for a full window, and in
what they return. q and k are rotated by our RoPE kernel before.
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
    """How to import and call one library.

    full_window: its `window_size` for attention without a window.
    length_keywords: its names for cu_seqlens of q and k, and max_seqlen of q and k.
    deterministic: whether its backward can be the same bit for bit in every run, by an argument of that name.
    install: how to install it.
    """

    module: str
    function: str
    full_window: tuple[int, int] | tuple[None, None]
    length_keywords: tuple[str, str, str, str]
    deterministic: bool
    install: str


_FLASH_KEYWORDS = ("cu_seqlens_q", "cu_seqlens_k", "max_seqlen_q", "max_seqlen_k")
LIBRARIES = {
    "flash4": Library(
        "flash_attn.cute", "flash_attn_varlen_func", (None, None), _FLASH_KEYWORDS, True,
        "pip install --pre flash-attn-4",
    ),
    "flash3": Library(
        "flash_attn_interface", "flash_attn_varlen_func", (-1, -1), _FLASH_KEYWORDS, True,
        "build the hopper directory of the flash-attention repository",
    ),
    "flash2": Library(
        "flash_attn", "flash_attn_varlen_func", (-1, -1), _FLASH_KEYWORDS, True,
        "pip install flash-attn",
    ),
    "varlen": Library(
        "torch.nn.attention.varlen", "varlen_attn", (-1, -1), ("cu_seq_q", "cu_seq_k", "max_q", "max_k"), False,
        "pip install 'torch>=2.13'",
    ),
}  # fmt: skip


def flash_attention(
    library: str,
    qkv: torch.Tensor,
    batch: PackedBatch,
    window: int | None,
    rope_theta: float,
    *,
    causal: bool = False,
    deterministic: bool = True,
    overwrite: bool = False,
) -> torch.Tensor:
    """(T, 3, H, D) -> (T, H, D) by one of LIBRARIES; see `dispatch.packed_attention`."""
    spec = LIBRARIES[library]
    before, after = spec.full_window if window is None else (window, window)
    q, k, v = rotate_qk(qkv, batch, rope_theta, overwrite=overwrite)
    lengths = (batch.cu_seqlens, batch.cu_seqlens, batch.max_seqlen, batch.max_seqlen)
    out = _load_function(library)(
        q, k, v,
        **dict(zip(spec.length_keywords, lengths, strict=True)),
        window_size=(before, 0 if causal else after),  # in all four, no keys after a query is causal attention
        **({"deterministic": deterministic} if spec.deterministic else {}),
    )  # fmt: skip
    return out[0] if isinstance(out, tuple) else out


@lru_cache
def _load_function(library: str) -> Callable[..., Any]:
    spec = LIBRARIES[library]
    function: Callable[..., Any] = getattr(importlib.import_module(spec.module), spec.function)
    return function


def flash_unsupported_reason(library: str, device: torch.device, dtype: torch.dtype, head_dim: int) -> str | None:
    """Why a library cannot compute this, with the fix if there is one; None if it can."""
    spec = LIBRARIES[library]
    if device.type != "cuda":
        return f"needs a CUDA GPU, and the tensors are on {device.type}"
    if dtype not in (torch.float16, torch.bfloat16):
        return f"computes in fp16 and bf16 only, not in {dtype}"
    if head_dim > 256 or head_dim % 8:
        return f"needs a head size that is a multiple of 8 and at most 256, not {head_dim}"
    if library in ("flash3", "flash4") and torch.version.hip:
        return "is for NVIDIA GPUs"
    capability = torch.cuda.get_device_capability(device)
    if library == "flash3" and capability[0] != 9:
        return f"is for compute capability 9, this GPU has {capability[0]}.{capability[1]}"
    if library == "flash4" and capability[0] not in (9, 10):
        return f"is for compute capability 9 and 10, this GPU has {capability[0]}.{capability[1]}"
    if capability[0] < 8:
        return f"needs compute capability 8.0, this GPU has {capability[0]}.{capability[1]}"
    try:
        parameters = inspect.signature(_load_function(library)).parameters
    except (ImportError, AttributeError) as error:
        return f"cannot be imported ({error}): {spec.install}"
    needed = {"window_size", *spec.length_keywords, *(["deterministic"] if spec.deterministic else [])}
    missing = needed - set(parameters)
    if missing:
        return f"is another version, without the arguments {', '.join(sorted(missing))}: {spec.install}"
    return None
