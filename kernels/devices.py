"""Which backend a device supports. `auto` selects Triton where Triton can run, and plain PyTorch elsewhere."""

import importlib.util
import os
from functools import lru_cache

import torch

AMD_ARCHITECTURES = ("gfx942", "gfx950")
"""AMD GPUs that the tuning table covers."""


def interpreter_enabled() -> bool:
    """Whether Triton runs its kernels in its interpreter, on CPU tensors (TRITON_INTERPRET=1)."""
    return os.environ.get("TRITON_INTERPRET") == "1"


@torch.compiler.assume_constant_result
def triton_unsupported_reason(device: torch.device) -> str | None:
    """Why Triton kernels cannot run on `device`, as the predicate of a sentence about Triton; None if they can."""
    return _triton_unsupported_reason(device)


@lru_cache
def _triton_unsupported_reason(device: torch.device) -> str | None:
    if importlib.util.find_spec("triton") is None:
        return "is not installed (pip install triton)"
    if device.type == "meta":
        return None  # nothing is computed: planning counts the operators that a GPU would run
    if device.type == "cpu":
        return None if interpreter_enabled() else "needs a GPU, and the tensors are on the CPU"
    if device.type != "cuda":
        return f"runs on CUDA and ROCm, not on {device.type}"
    if torch.version.hip:
        name = torch.cuda.get_device_properties(device).gcnArchName.split(":")[0]
        return None if name in AMD_ARCHITECTURES else f"has no tile sizes for {name}"
    major, minor = torch.cuda.get_device_capability(device)
    return None if major >= 8 else f"needs compute capability 8.0, this GPU has {major}.{minor}"


def use_triton(backend: str, device: torch.device) -> bool:
    """Whether a function with the backends auto, triton and torch runs Triton on `device`.

    Raises ValueError for an unknown backend, and for "triton" where Triton cannot run.
    """
    if backend not in ("auto", "triton", "torch"):
        raise ValueError(f"backend must be auto, triton or torch, got {backend!r}")
    reason = triton_unsupported_reason(device)
    if backend == "triton" and reason:
        raise ValueError(f"backend 'triton' is unavailable: triton {reason}")
    return backend != "torch" and reason is None
