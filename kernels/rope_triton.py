"""RoPE as a Triton kernel. q and k are each read once and written once, in place or into another tensor."""

import torch
import triton
import triton.language as tl

from .launch import launch
from .rope_tables import rope_tables

PAIRS = 2048
"""Pairs of values that one program rotates: sixteen for each of 128 threads, two 128-bit loads of bf16 per half."""


@triton.jit(do_not_specialize=["tokens"])
def rotate_rows(  # type: ignore[no-untyped-def]
    SOURCE, TARGET, COS, SIN, POSITIONS, tokens,
    source_token, source_plane, source_head, target_token, target_plane, target_head,
    HEADS: tl.constexpr, ROWS: tl.constexpr, HALF: tl.constexpr, BLOCK: tl.constexpr, INVERSE: tl.constexpr,
):  # fmt: skip
    """Rotate q (plane 0) and k (plane 1) of BLOCK tokens by their positions' angles, or by the inverse angles.

    HALF is D/2, ROWS is 2 HEADS rounded up to a power of two; source_* and target_* are strides."""
    token = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    row = tl.arange(0, ROWS)
    column = tl.arange(0, HALF)
    angle = tl.load(POSITIONS + token, mask=token < tokens, other=0)[:, None] * HALF + column[None, :]
    cos = tl.load(COS + angle)[:, None, :]
    sin = tl.load(SIN + angle)[:, None, :]
    if INVERSE:
        sin = -sin
    plane = (row // HEADS)[None, :, None]
    head = (row % HEADS)[None, :, None]
    token = token[:, None, None].to(tl.int64)
    mask = (token < tokens) & (row < 2 * HEADS)[None, :, None]
    source = SOURCE + token * source_token + plane * source_plane + head * source_head + column[None, None, :]
    first = tl.load(source, mask=mask, other=0.0).to(tl.float32)
    second = tl.load(source + HALF, mask=mask, other=0.0).to(tl.float32)
    target = TARGET + token * target_token + plane * target_plane + head * target_head + column[None, None, :]
    tl.store(target, (first * cos - second * sin).to(TARGET.dtype.element_ty), mask=mask)
    tl.store(target + HALF, (second * cos + first * sin).to(TARGET.dtype.element_ty), mask=mask)


@torch.library.custom_op("clinical_modernbert::rotate_", mutates_args=("qk",))
def triton_rotate_(qk: torch.Tensor, positions: torch.Tensor, length: int, theta: float, inverse: bool) -> None:
    """Rotate q and k (T, 2, H, D) in place. All positions are below `length`."""
    rotate_into(qk, qk, positions, length, theta, inverse=inverse)


@torch.library.custom_op("clinical_modernbert::rotate", mutates_args=())
def triton_rotate(qk: torch.Tensor, positions: torch.Tensor, length: int, theta: float, inverse: bool) -> torch.Tensor:
    """A rotated copy of q and k (T, 2, H, D). All positions are below `length`."""
    rotated = qk.new_empty(qk.shape)
    rotate_into(rotated, qk, positions, length, theta, inverse=inverse)
    return rotated


@triton_rotate.register_fake
def _(qk: torch.Tensor, positions: torch.Tensor, length: int, theta: float, inverse: bool) -> torch.Tensor:
    return qk.new_empty(qk.shape)


def rotate_into(
    target: torch.Tensor,
    source: torch.Tensor,
    positions: torch.Tensor,
    length: int,
    theta: float,
    *,
    inverse: bool = False,
) -> None:
    """Write the rotated q and k of `source` (T, 2 or 3, H, D) to those of `target`, which may be `source` itself."""
    tokens, _, heads, dim = source.shape
    if source.stride(-1) != 1 or target.stride(-1) != 1:
        raise ValueError(f"the last dimension must be contiguous, strides are {source.stride()}, {target.stride()}")
    cos, sin = rope_tables(theta, length, dim, source.device)
    rows = triton.next_power_of_2(2 * heads)
    block = max(1, PAIRS // (rows * dim // 2))
    launch(
        rotate_rows, (triton.cdiv(tokens, block),),
        source, target, cos, sin, positions, tokens,
        source.stride(0), source.stride(1), source.stride(2),
        target.stride(0), target.stride(1), target.stride(2),
        HEADS=heads, ROWS=rows, HALF=dim // 2, BLOCK=block, INVERSE=inverse,
    )  # fmt: skip
