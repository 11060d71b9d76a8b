"""Bidirectional attention inside each sequence of a packed batch: one function, several backends.

- triton: the kernels of this package. RoPE, its backward and the window are fused; deterministic.
- flash: the newest flash-attn that this GPU and installation support; flash2, flash3 and flash4 select one.
- varlen: PyTorch's own variable-length attention.
- torch: SDPA, one sequence at a time, on any device.
- auto: the first of triton, flash4, flash3, flash2, varlen, torch that supports the given tensors.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch

from ..devices import triton_unsupported_reason
from ..packed import PackedBatch
from .flash import LIBRARIES, flash_attention, flash_unsupported_reason
from .sdpa import torch_attention

FLASH_ORDER = ("flash4", "flash3", "flash2")
AUTO_ORDER = ("triton", *LIBRARIES, "torch")
BACKENDS = ("auto", "triton", "flash", *LIBRARIES, "torch")
TRITON_HEAD_DIMS = (32, 64, 128)
TRITON_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Choice:
    """The selected backend, and why it was selected."""

    backend: str
    reason: str


def packed_attention(
    qkv: torch.Tensor, batch: PackedBatch, *, window: int | None, rope_theta: float, backend: str = "auto"
) -> torch.Tensor:
    """Rotate q and k by their positions, then attend inside each sequence.

    qkv: (T, 3, H, D), q, k and v of T packed tokens; not modified.
    window: a token attends to keys at a distance of at most `window` in both directions (|i - j| <= window); None
        attends to the complete sequence. Hugging Face's `local_attention=128` is window=64.
    rope_theta: base of the rotary frequencies; applied in fp32.
    backend: one of BACKENDS; ValueError with the reason if it is unavailable.
    Returns (T, H, D).
    """
    if qkv.dim() != 4 or qkv.shape[1] != 3:
        raise ValueError(f"qkv must be (T, 3, H, D), got {tuple(qkv.shape)}")
    if qkv.shape[0] != batch.positions.shape[0]:
        raise ValueError(f"qkv has {qkv.shape[0]} tokens but the batch has {batch.positions.shape[0]}")
    if qkv.device != batch.positions.device:
        raise ValueError(f"qkv is on {qkv.device} but the batch is on {batch.positions.device}")
    if window is not None and window < 0:
        raise ValueError(f"window must be None or at least 0, got {window}")
    selected = choose_backend(qkv.device, qkv.dtype, qkv.shape[-1], backend).backend
    if selected == "torch":
        return torch_attention(qkv, batch, window, rope_theta)
    if selected == "triton":
        from .triton_op import triton_attention

        return triton_attention(qkv, batch, window, rope_theta)
    return flash_attention(selected, qkv, batch, window, rope_theta)


def available_backends(device: torch.device, dtype: torch.dtype, head_dim: int) -> list[str]:
    """All backends that support such tensors, in the order in which `auto` prefers them."""
    return [backend for backend in AUTO_ORDER if _unsupported_reason(backend, device, dtype, head_dim) is None]


def explain_backend(device: torch.device, dtype: torch.dtype, head_dim: int, backend: str = "auto") -> str:
    """One line for a log: the backend that `packed_attention` selects for such tensors, and why."""
    choice = choose_backend(device, dtype, head_dim, backend)
    return f"{choice.backend}: {choice.reason}"


@torch.compiler.assume_constant_result
def choose_backend(device: torch.device, dtype: torch.dtype, head_dim: int, backend: str = "auto") -> Choice:
    """Resolve "auto" and "flash" to a backend; any other is returned as it is. ValueError if none is available."""
    return _choose_backend(device, dtype, head_dim, backend)


@lru_cache
def _choose_backend(device: torch.device, dtype: torch.dtype, head_dim: int, backend: str) -> Choice:
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}")
    candidates = {"auto": AUTO_ORDER, "flash": FLASH_ORDER}.get(backend, (backend,))
    unsupported: list[str] = []
    for candidate in candidates:
        reason = _unsupported_reason(candidate, device, dtype, head_dim)
        if reason is None:
            default = "the first choice" if backend in ("auto", "flash") else "requested"
            return Choice(candidate, "; ".join(unsupported) or default)
        unsupported.append(f"{candidate} {reason}")
    raise ValueError(f"attention backend {backend!r} is unavailable: {'; '.join(unsupported)}")


def _unsupported_reason(backend: str, device: torch.device, dtype: torch.dtype, head_dim: int) -> str | None:
    if backend == "torch":
        return None
    if backend in LIBRARIES:
        return flash_unsupported_reason(backend, device, dtype, head_dim)
    if dtype not in TRITON_DTYPES:
        return f"has no kernels for {dtype}"
    if head_dim not in TRITON_HEAD_DIMS:
        return f"has tile sizes for heads of {', '.join(map(str, TRITON_HEAD_DIMS))}, not {head_dim}"
    return triton_unsupported_reason(device)
