"""Attention inside each sequence of a packed batch, bidirectional or causal: one function, several backends.

- triton: the kernels of this package. RoPE, its backward and the window are fused; deterministic.
- flash: the newest flash-attn that this GPU and installation support; flash2, flash3 and flash4 select one.
- varlen: PyTorch's own variable-length attention.
- torch: SDPA, one sequence at a time, on any device.
- auto: for each kind of layer and length of sequences, the first that the table in `choices.py` names and that
  supports the given tensors. It depends on nothing but the batch and the installation, so a resumed run takes the same.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch

from ..devices import constant_result, device_architecture, triton_unsupported_reason
from ..packed import PackedBatch
from .choices import BACKENDS as AUTO_ORDER
from .choices import LONG, REGIMES, preference
from .flash import LIBRARIES, flash_attention, flash_unsupported_reason
from .sdpa import torch_attention

FLASH_ORDER = ("flash4", "flash3", "flash2")
BACKENDS = ("auto", "triton", "flash", *LIBRARIES, "torch")
TRITON_HEAD_DIMS = (32, 64, 128)
TRITON_DTYPES = (torch.float32, torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class Choice:
    """The selected backend, and why it was selected."""

    backend: str
    reason: str


def packed_attention(
    qkv: torch.Tensor,
    batch: PackedBatch,
    *,
    window: int | None,
    rope_theta: float,
    causal: bool = False,
    backend: str = "auto",
    deterministic: bool = True,
    overwrite: bool = False,
) -> torch.Tensor:
    """Rotate q and k by their positions, then attend inside each sequence.

    qkv: (T, 3, H, D), q, k and v of T packed tokens.
    window: a token attends to keys at a distance of at most `window` in both directions (|i - j| <= window); None
        attends to the complete sequence. Hugging Face's `local_attention=128` is window=64.
    rope_theta: base of the rotary frequencies; applied in fp32.
    causal: a token attends to itself and to tokens before it only (0 <= i - j <= window), for predicting the next one.
    backend: one of BACKENDS; ValueError with the reason if it is unavailable.
    deterministic: whether two backward passes must be equal bit for bit, where the backend can do so.
    overwrite: `qkv` may be changed, because nothing else reads it; this saves a copy of q and k, twice in training.
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
    choice = choose_backend(qkv.device, qkv.dtype, qkv.shape[-1], backend, regime_of(batch, window), deterministic)
    if choice.backend == "torch":
        return torch_attention(qkv, batch, window, rope_theta, causal=causal, overwrite=overwrite)
    if choice.backend == "triton":
        from .triton_op import triton_attention

        return triton_attention(qkv, batch, window, rope_theta, causal=causal, overwrite=overwrite)
    options = {"causal": causal, "deterministic": deterministic, "overwrite": overwrite}
    return flash_attention(choice.backend, qkv, batch, window, rope_theta, **options)


def regime_of(batch: PackedBatch, window: int | None) -> str:
    """One of REGIMES, from what is known on the host."""
    if window is not None:
        return "local"
    return "long" if batch.attended >= LONG else "short"


def available_backends(device: torch.device, dtype: torch.dtype, head_dim: int) -> list[str]:
    """All backends that support such tensors."""
    return [backend for backend in AUTO_ORDER if _unsupported_reason(backend, device, dtype, head_dim) is None]


def explain_backends(
    device: torch.device, dtype: torch.dtype, head_dim: int, backend: str = "auto", deterministic: bool = True
) -> list[str]:
    """Lines for a log: the backend that `packed_attention` selects for each kind of layer, and why."""
    layers = (
        "local layers",
        f"global layers, below {LONG:,} attended tokens",
        f"global layers, from {LONG:,} attended tokens on",
    )
    lines: dict[str, list[str]] = {}
    for layer, name in zip(layers, REGIMES, strict=True):
        choice = choose_backend(device, dtype, head_dim, backend, name, deterministic)
        lines.setdefault(f"{choice.backend} ({choice.reason})", []).append(layer)
    return [f"{'all layers' if len(lines) == 1 else '; '.join(to)}: {line}" for line, to in lines.items()]


@constant_result
def choose_backend(
    device: torch.device,
    dtype: torch.dtype,
    head_dim: int,
    backend: str = "auto",
    regime: str = "local",
    deterministic: bool = True,
) -> Choice:
    """Resolve "auto" and "flash" to a backend; any other is returned as it is. ValueError if none is available.

    regime: one of REGIMES.
    """
    return _choose_backend(device, dtype, head_dim, backend, regime, deterministic)


@lru_cache
def _choose_backend(
    device: torch.device, dtype: torch.dtype, head_dim: int, backend: str, regime: str, deterministic: bool
) -> Choice:
    if backend not in BACKENDS:
        raise ValueError(f"backend must be one of {', '.join(BACKENDS)}, got {backend!r}")
    candidates: tuple[str, ...] = (backend,)
    reason = "requested"
    if backend == "flash":
        candidates, reason = FLASH_ORDER, "the newest"
    elif backend == "auto":
        row = preference(device_architecture(device), 8 * dtype.itemsize, head_dim, regime, deterministic)
        candidates, reason = tuple(dict.fromkeys([*row.order, *AUTO_ORDER])), row.evidence
    unsupported: list[str] = []
    for candidate in candidates:
        why_not = _unsupported_reason(candidate, device, dtype, head_dim)
        if why_not is None:
            remarks = unsupported or [reason]
            if deterministic and not _deterministic(candidate, device):
                remarks = [*remarks, "its backward is not deterministic"]
            return Choice(candidate, "; ".join(remarks))
        unsupported.append(f"{candidate} {why_not}")
    raise ValueError(f"attention backend {backend!r} is unavailable: {'; '.join(unsupported)}")


def _deterministic(backend: str, device: torch.device) -> bool:
    """Whether its backward can be the same bit for bit in every run."""
    if backend in LIBRARIES:
        return LIBRARIES[backend].deterministic
    return backend == "triton" or device.type != "cuda"


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
