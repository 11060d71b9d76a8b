"""Tile sizes of the attention kernels, found by compiling ahead of time: no spills, no repeated work, and two blocks an
SM wherever that leaves tiles worth having. What came of them is in docs/kernels.md.

A table, not an autotuner: the same shapes run the same instructions on every rank and in every run.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Tile:
    """queries x keys a step, in `warps` warps and `stages` pipeline stages. peel (backward only): the last, incomplete
    step of a sequence has code of its own, so that the others need no masks; without it there are fewer registers."""

    queries: int
    keys: int
    warps: int = 4
    stages: int = 2
    peel: bool = True


@dataclass(frozen=True)
class Tuning:
    """rotate: apply RoPE while loading q and k, instead of by a kernel of its own before."""

    forward: Tile
    dq: Tile
    dkdv: Tile
    rotate: bool = False


_SMALL_HEADS = Tuning(Tile(128, 64), Tile(64, 64), Tile(64, 64))
_LARGE_HEADS = Tuning(Tile(64, 64), Tile(64, 32), Tile(32, 64))
_HOPPER = Tuning(Tile(128, 64, 4, 3), Tile(128, 64, 8), Tile(64, 128, 8))
_AMD = Tuning(Tile(64, 64, 4, 1), Tile(64, 64, 4, 1), Tile(32, 64, 4, 1))
_AMD_LARGE_HEADS = Tuning(Tile(64, 64, 4, 1), Tile(64, 32, 4, 1), Tile(32, 64, 4, 1))
_16_BITS = {
    "sm80": {
        32: Tuning(Tile(128, 64), Tile(64, 64), Tile(32, 64)),
        64: Tuning(Tile(128, 64, 4, 3), Tile(128, 32), Tile(32, 64)),
        128: Tuning(Tile(128, 64, 8), Tile(128, 32, 8), Tile(16, 64, peel=False)),
    },
    "sm90": {32: _SMALL_HEADS, 64: _HOPPER, 128: _LARGE_HEADS},
    "sm100": {32: _SMALL_HEADS, 64: _HOPPER, 128: _LARGE_HEADS},
    "gfx942": {32: _AMD, 64: _AMD, 128: _AMD_LARGE_HEADS},
}
_TURNED_IN_LOAD = Tuning(Tile(64, 64), Tile(64, 64), Tile(64, 64), rotate=True)
_16_BITS_LOCAL = {  # a tile of 64 reaches 192 keys through a window of 64, one of 128 would reach 256
    "sm80": {64: Tuning(Tile(64, 64), Tile(64, 64), Tile(32, 64))},
    "sm90": {64: _TURNED_IN_LOAD},
    "sm100": {64: _TURNED_IN_LOAD},
}
_SMALL_HEADS_32 = Tuning(Tile(64, 32, 4, 1), Tile(64, 32, 4, 1, peel=False), Tile(16, 64, 4, 1, peel=False))
_LARGE_HEADS_32 = Tuning(Tile(32, 16, 2, 1), Tile(32, 16, 2, 1, peel=False), Tile(16, 32, 2, 1, peel=False))
_AMD_32 = Tuning(Tile(64, 32, 4, 1), Tile(64, 16, 4, 1, peel=False), Tile(16, 64, 4, 1, peel=False))
_32_BITS = {
    "sm80": {
        32: _SMALL_HEADS_32,
        64: Tuning(Tile(32, 32, 4, 1), Tile(32, 16, 2, 1, peel=False), Tile(16, 64, 4, 1, peel=False)),
        128: _LARGE_HEADS_32,
    },
    "sm90": {
        32: _SMALL_HEADS_32,
        64: Tuning(Tile(64, 32, 4, 1), Tile(64, 32, 4, 1, peel=False), Tile(16, 64, 4, 1, peel=False)),
        128: _LARGE_HEADS_32,
    },
    "sm100": {
        32: _SMALL_HEADS_32,
        64: Tuning(Tile(64, 32, 4, 1), Tile(32, 16, 2, 1, peel=False), Tile(16, 32, 2, 1, peel=False)),
        128: _LARGE_HEADS_32,
    },
    "gfx942": {32: _AMD_32, 64: _AMD_32, 128: _AMD_32},
}
"""For checks, not for training: three TF32 products keep two copies of every operand, so heads of 64 (backward) and of
128 spill on NVIDIA."""


def tuning(architecture: str, head_dim: int, bits: int, local: bool) -> Tuning:
    """For an architecture ("sm80", "sm90", "sm100", "gfx942"), a head size (32, 64, 128) and 16 or 32 bits a value."""
    if bits == 32:
        return _32_BITS[architecture][head_dim]
    if local and head_dim in _16_BITS_LOCAL.get(architecture, {}):
        return _16_BITS_LOCAL[architecture][head_dim]
    return _16_BITS[architecture][head_dim]
