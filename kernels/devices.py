"""Which backend a device supports. `auto` selects Triton where Triton can run, and plain PyTorch elsewhere."""

import importlib.util
import os
from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeVar

import torch

ARCHITECTURES = ("sm80", "sm86", "sm89", "sm90", "sm100", "sm103", "sm120", "gfx942", "gfx950")
"""Architectures for which every kernel is compiled and checked (verify/report.py): keys of the tuning tables."""
OLDEST_TRITON = {"sm103": (3, 6, 0)}
"""The first release of Triton that compiles for an architecture, where it is later than the first we support."""

Function = TypeVar("Function", bound=Callable[..., Any])


def interpreter_enabled() -> bool:
    """Whether Triton runs its kernels in its interpreter, on CPU tensors (TRITON_INTERPRET=1)."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def constant_result(function: Function) -> Function:
    """Mark a function whose result torch.compile takes for a constant.

    `torch.compiler.assume_constant_result` sets the same mark, but imports the compiler, which takes seconds in every
    rank.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


@constant_result
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
        name = device_architecture(device)
        return None if name in ARCHITECTURES else f"has no tile sizes for {name}"
    major, minor = torch.cuda.get_device_capability(device)
    if major < 8:
        return f"needs compute capability 8.0, this GPU has {major}.{minor}"
    return triton_too_old(device_architecture(device))


def triton_too_old(architecture: str) -> str | None:
    """Why the installed Triton cannot compile for an architecture, as the predicate of a sentence; None if it can."""
    import triton

    installed, oldest = triton.__version__, OLDEST_TRITON.get(architecture, (0, 0, 0))
    if tuple(int(part) for part in installed.split("+")[0].split(".")[:3]) >= oldest:
        return None
    return f"{installed} cannot compile for {architecture} (pip install 'triton>={'.'.join(map(str, oldest))}')"


def device_architecture(device: torch.device) -> str:
    """The name of a device's architecture: one of ARCHITECTURES, another AMD name, or the type of the device.

    Under Triton's interpreter it is "sm80".
    """
    if interpreter_enabled():
        return "sm80"
    if device.type != "cuda":
        return device.type
    if torch.version.hip:
        return str(torch.cuda.get_device_properties(device).gcnArchName).split(":")[0]
    major, minor = torch.cuda.get_device_capability(device)
    return nearest_architecture(10 * major + minor)


def nearest_architecture(capability: int) -> str:
    """The name in ARCHITECTURES whose tiles an NVIDIA GPU of this compute capability uses; 90 is 9.0.

    It is the latest of the same major version that is not newer: sm87 is "sm86", sm121 is "sm120". Without one it is
    "sm86", whose tiles need the least shared memory.
    """
    known = [int(name[2:]) for name in ARCHITECTURES if name.startswith("sm")]
    same = [one for one in known if one // 10 == capability // 10 and one <= capability]
    return f"sm{max(same, default=86)}"


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
