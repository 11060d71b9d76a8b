"""The GPU that kernels are compiled for, as the tuning tables call it."""

import triton

from .devices import interpreted


def architecture() -> str:
    """ "sm80", "sm90", "sm100" or "gfx942" for the current device. sm80's tiles ask for the least shared memory, and
    serve the sm86, sm89 and sm120 that have less of it. The interpreter plays an sm80."""
    if interpreted():
        return "sm80"
    target = triton.runtime.driver.active.get_current_target()
    if target.backend == "hip":
        return "gfx942"
    return {9: "sm90", 10: "sm100"}.get(int(target.arch) // 10, "sm80")


def lanes() -> int:
    """Threads of a warp."""
    return 64 if architecture() == "gfx942" else 32
