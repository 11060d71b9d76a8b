"""Which backend a device can run. `auto` takes Triton wherever it runs, and plain PyTorch elsewhere."""

import importlib.util
import os
from functools import lru_cache

import torch

TRITON_TUNED_FOR_AMD = ("gfx942", "gfx950")


def interpreted() -> bool:
    """Whether Triton runs its kernels in its interpreter, on the tensors of a CPU (TRITON_INTERPRET=1)."""
    return os.environ.get("TRITON_INTERPRET") == "1"


@torch.compiler.assume_constant_result
def triton_obstacle(device: torch.device) -> str | None:
    """Why Triton's kernels cannot run on `device`, as the rest of a sentence about it; None if they can."""
    return _triton_obstacle(device)


@lru_cache
def _triton_obstacle(device: torch.device) -> str | None:
    if importlib.util.find_spec("triton") is None:
        return "is not installed (pip install triton)"
    if device.type == "cpu":
        return None if interpreted() else "needs a GPU, and the tensors are on the CPU"
    if device.type != "cuda":
        return f"runs on CUDA and ROCm, not on {device.type}"
    if torch.version.hip:
        name = torch.cuda.get_device_properties(device).gcnArchName.split(":")[0]
        return None if name in TRITON_TUNED_FOR_AMD else f"has no tile sizes for {name}"
    major, minor = torch.cuda.get_device_capability(device)
    return None if major >= 8 else f"needs compute capability 8.0, this GPU has {major}.{minor}"


def use_triton(backend: str, device: torch.device) -> bool:
    """Whether a function with the backends auto, triton and torch takes Triton; ValueError if it must but cannot."""
    if backend not in ("auto", "triton", "torch"):
        raise ValueError(f"backend must be auto, triton or torch, got {backend!r}")
    obstacle = triton_obstacle(device)
    if backend == "triton" and obstacle:
        raise ValueError(f"backend 'triton' cannot be had: triton {obstacle}")
    return backend != "torch" and obstacle is None
