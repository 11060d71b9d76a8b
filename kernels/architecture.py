"""The architecture that Triton compiles for, as the key of the tuning tables."""

import triton

from .devices import interpreter_enabled


def architecture() -> str:
    """Return "sm80", "sm90", "sm100" or "gfx942" for the current device.

    sm86, sm89 and sm120 also map to "sm80": they have less shared memory, and the sm80 tiles need the least. Under
    Triton's interpreter the result is "sm80".
    """
    if interpreter_enabled():
        return "sm80"
    target = triton.runtime.driver.active.get_current_target()
    if target.backend == "hip":
        return "gfx942"
    return {9: "sm90", 10: "sm100"}.get(int(target.arch) // 10, "sm80")


def threads_per_warp() -> int:
    return 64 if architecture() == "gfx942" else 32
