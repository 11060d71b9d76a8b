"""The architecture that Triton compiles for, as the key of the tuning tables."""

import triton

from .devices import interpreter_enabled, nearest_architecture


def architecture() -> str:
    """One of `devices.ARCHITECTURES`, for the current device. Under Triton's interpreter it is "sm80"."""
    if interpreter_enabled():
        return "sm80"
    target = triton.runtime.driver.active.get_current_target()
    return str(target.arch) if target.backend == "hip" else nearest_architecture(int(target.arch))


def threads_per_warp() -> int:
    return 64 if architecture().startswith("gfx") else 32
