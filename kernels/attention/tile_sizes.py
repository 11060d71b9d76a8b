"""Tile sizes of the attention kernels, chosen by compiling ahead of time: no spills, no repeated work, and two blocks
per SM wherever that leaves tiles of a useful size. The results are in docs/kernels.md, for the oldest and the newest
Triton that is supported too.

A table, not an autotuner: the same shapes run the same instructions on every rank and in every run.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Tile:
    """block_m queries by block_n keys per step, in num_warps warps and num_stages pipeline stages.

    peel (backward only): the last, incomplete step of a sequence is peeled off the loop, so that the other steps need
    no masks. Without peeling the kernel needs fewer registers.
    """

    block_m: int
    block_n: int
    num_warps: int = 4
    num_stages: int = 2
    peel: bool = True


@dataclass(frozen=True)
class Tuning:
    """fused_rope: apply RoPE while loading q and k, instead of in a separate kernel before."""

    forward: Tile
    dq: Tile
    dkdv: Tile
    fused_rope: bool = False


_SMALL_HEADS = Tuning(Tile(128, 64), Tile(64, 64), Tile(64, 64))
_LARGE_HEADS = Tuning(Tile(64, 64), Tile(64, 32), Tile(32, 64))
_HOPPER = Tuning(Tile(128, 64, 4, 3), Tile(128, 64, 8), Tile(64, 128, 8))
_AMD = Tuning(Tile(64, 64, 4, 1), Tile(64, 64, 4, 1), Tile(32, 64, 4, 1))
_AMD_LARGE_HEADS = Tuning(Tile(64, 64, 4, 1), Tile(64, 32, 4, 1), Tile(32, 64, 4, 1))
RELATIVES = {"sm86": "sm80", "sm89": "sm80", "sm120": "sm80", "sm103": "sm100", "gfx950": "gfx942"}
"""Whose tiles an architecture uses where it has none of its own."""
_SMALL_SHARED = {
    64: Tuning(Tile(128, 64), Tile(128, 32), Tile(32, 64)),
    128: Tuning(Tile(128, 64, 8), Tile(128, 32, 8), Tile(32, 32, peel=False)),
}
_16_BITS = {
    "sm80": {
        32: Tuning(Tile(128, 64), Tile(64, 64), Tile(32, 64)),
        64: Tuning(Tile(128, 64, 4, 3), Tile(128, 32), Tile(32, 64)),
        128: Tuning(Tile(128, 64, 8), Tile(128, 32, 8), Tile(16, 64, peel=False)),
    },
    "sm86": _SMALL_SHARED,
    "sm89": _SMALL_SHARED,
    "sm120": {
        64: Tuning(Tile(128, 64, 4, 3), Tile(128, 32, peel=False), Tile(32, 64, peel=False)),
        128: Tuning(Tile(128, 32, 8), Tile(128, 32, 8, peel=False), Tile(32, 32, peel=False)),
    },
    "sm90": {32: _SMALL_HEADS, 64: _HOPPER, 128: _LARGE_HEADS},
    "sm100": {32: _SMALL_HEADS, 64: _HOPPER, 128: _LARGE_HEADS},
    "gfx942": {32: _AMD, 64: _AMD, 128: _AMD_LARGE_HEADS},
}
_FUSED_ROPE = Tuning(Tile(64, 64), Tile(64, 64), Tile(64, 64, peel=False), fused_rope=True)
_16_BITS_LOCAL = {  # with a window of 64, a tile of 64 queries attends to 192 keys, a tile of 128 to 256
    "sm80": {64: Tuning(Tile(64, 64), Tile(64, 64), Tile(32, 64))},
    "sm90": {64: _FUSED_ROPE},
    "sm100": {64: _FUSED_ROPE},
    "sm120": {64: Tuning(Tile(64, 64), Tile(64, 64, peel=False), Tile(32, 64, peel=False))},
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
"""For checks, not for training: on NVIDIA an fp32 product is three TF32 products, which need two copies of every
operand, so that heads of 64 (backward) and of 128 spill."""


def tuning(architecture: str, head_dim: int, bits: int, local: bool) -> Tuning:
    """Tiles for an architecture (one of `devices.ARCHITECTURES`), a head size (32, 64, 128) and 16 or 32 bits.

    bits: of one value. local: the layer attends within a window. KeyError if there are none.
    """
    tables = [_32_BITS] if bits == 32 else [_16_BITS_LOCAL, _16_BITS] if local else [_16_BITS]
    for table in tables:
        for name in (architecture, RELATIVES.get(architecture, "")):
            if head_dim in table.get(name, {}):
                return table[name][head_dim]
    raise KeyError(f"{architecture}, heads of {head_dim}, {bits} bits")
