"""Tile sizes of the attention kernels, found by compiling ahead of time: no spills, no repeated work, and two blocks an
SM wherever that leaves tiles worth having.

A table, not an autotuner: the same shapes run the same instructions on every rank and in every run.
"""

from dataclasses import dataclass

import triton

from .devices import interpreted


@dataclass(frozen=True)
class Tile:
    """queries x keys a step, in `warps` warps and `stages` pipeline stages."""

    queries: int
    keys: int
    warps: int = 4
    stages: int = 2


@dataclass(frozen=True)
class Tuning:
    """rotate_*: apply RoPE while loading q and k, instead of by a kernel of its own before."""

    forward: Tile
    dq: Tile
    dkdv: Tile
    rotate_forward: bool = False
    rotate_backward: bool = False


def architecture() -> str:
    """Whose row of the table serves the current device. sm80 asks for least shared memory and serves the sm86, sm89 and
    sm120 that have less of it."""
    if interpreted():
        return "sm80"
    target = triton.runtime.driver.active.get_current_target()
    if target.backend == "hip":
        return "gfx942"
    return {9: "sm90", 10: "sm100"}.get(int(target.arch) // 10, "sm80")


def tuning(architecture: str, head_dim: int, bits: int, local: bool) -> Tuning:
    """For an architecture ("sm80", "sm90", "sm100", "gfx942"), a head size (32, 64, 128) and 16 or 32 bits a value."""
    if architecture == "sm80":
        if local:
            return Tuning(Tile(64, 64), Tile(64, 64), Tile(32, 64))
        return Tuning(Tile(128, 64, 4, 3), Tile(128, 32), Tile(32, 64))
    return Tuning(Tile(64, 64), Tile(64, 64), Tile(64, 64))
