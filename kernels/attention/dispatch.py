"""Bidirectional attention inside each sequence of a packed batch: one call, several backends.

- triton: our kernels. RoPE, its backward and the window are inside; deterministic.
- flash: the newest flash-attn that this GPU and installation have; flash2, flash3, flash4 name one.
- varlen: PyTorch's own variable-length attention.
- torch: SDPA, one sequence at a time, on any device.
- auto: the first of triton, flash4, flash3, flash2, varlen, torch that can compute the tensors at hand.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch

from ..devices import triton_obstacle
from ..packed import PackedBatch
from .flash import LIBRARIES, flash_attention, flash_obstacle
from .sdpa import torch_attention

FLASH = ("flash4", "flash3", "flash2")
AUTOMATIC = ("triton", *LIBRARIES, "torch")
BACKENDS = ("auto", "triton", "flash", *LIBRARIES, "torch")
TRITON_HEAD_DIMS = (32, 64, 128)
TRITON_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Choice:
    """The backend that computes, and why it was taken."""

    backend: str
    reason: str


def packed_attention(
    qkv: torch.Tensor, batch: PackedBatch, *, window: int | None, rope_theta: float, backend: str = "auto"
) -> torch.Tensor:
    """Rotate q and k by their positions, then attend inside each sequence.

    qkv: (T, 3, H, D), q, k and v of T packed tokens; not modified.
    window: a token attends to keys at most `window` tokens away on either side (|i - j| <= window); None is all.
        Hugging Face's `local_attention=128` is window=64.
    rope_theta: base of the rotary frequencies; applied in fp32.
    backend: one of BACKENDS; ValueError says why if it cannot be had.
    Returns (T, H, D).
    """
    if qkv.dim() != 4 or qkv.shape[1] != 3:
        raise ValueError(f"qkv must be (T, 3, H, D), got {tuple(qkv.shape)}")
    if qkv.shape[0] != batch.positions.shape[0]:
        raise ValueError(f"qkv holds {qkv.shape[0]} tokens but the batch {batch.positions.shape[0]}")
    if qkv.device != batch.positions.device:
        raise ValueError(f"qkv is on {qkv.device} but the batch on {batch.positions.device}")
    if window is not None and window < 0:
        raise ValueError(f"window must be None or at least 0, got {window}")
    taken = choose_backend(qkv.device, qkv.dtype, qkv.shape[-1], backend).backend
    if taken == "torch":
        return torch_attention(qkv, batch, window, rope_theta)
    if taken == "triton":
        from .triton_op import triton_attention

        return triton_attention(qkv, batch, window, rope_theta)
    return flash_attention(taken, qkv, batch, window, rope_theta)


def available_backends(device: torch.device, dtype: torch.dtype, head_dim: int) -> list[str]:
    """All that could compute such tensors, the one that `auto` takes first."""
    return [backend for backend in AUTOMATIC if _obstacle(backend, device, dtype, head_dim) is None]


def explain_backend(device: torch.device, dtype: torch.dtype, head_dim: int, backend: str = "auto") -> str:
    """One line for a log: the backend that `packed_attention` takes for such tensors, and why."""
    choice = choose_backend(device, dtype, head_dim, backend)
    return f"{choice.backend}: {choice.reason}"


@torch.compiler.assume_constant_result
def choose_backend(device: torch.device, dtype: torch.dtype, head_dim: int, backend: str = "auto") -> Choice:
    """The backend to take, which is `backend` itself unless that leaves a choice. ValueError if it cannot be had."""
    return _choose_backend(device, dtype, head_dim, backend)


@lru_cache
def _choose_backend(device: torch.device, dtype: torch.dtype, head_dim: int, backend: str) -> Choice:
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}")
    candidates = {"auto": AUTOMATIC, "flash": FLASH}.get(backend, (backend,))
    refused: list[str] = []
    for candidate in candidates:
        obstacle = _obstacle(candidate, device, dtype, head_dim)
        if obstacle is None:
            why = "; ".join(refused) if refused else "the first choice" if backend in ("auto", "flash") else "asked for"
            return Choice(candidate, why)
        refused.append(f"{candidate} {obstacle}")
    raise ValueError(f"attention backend {backend!r} cannot be had: {'; '.join(refused)}")


def _obstacle(backend: str, device: torch.device, dtype: torch.dtype, head_dim: int) -> str | None:
    if backend == "torch":
        return None
    if backend in LIBRARIES:
        return flash_obstacle(backend, device, dtype, head_dim)
    if dtype not in TRITON_DTYPES:
        return f"has no kernels for {dtype}"
    if head_dim not in TRITON_HEAD_DIMS:
        return f"has tile sizes for heads of {', '.join(map(str, TRITON_HEAD_DIMS))}, not {head_dim}"
    return triton_obstacle(device)
