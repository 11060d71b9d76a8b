"""What the three attention kernels share: finding their tile, loading rows of q, k and v, and the window."""

import triton
import triton.language as tl


@triton.jit
def locate(TILES, CU_SEQLENS, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """This program's tile: the sequence's first token in the stream, its length, and the tile's first row in it."""
    tile = tl.program_id(0)
    sequence = tl.load(TILES + 2 * tile)
    row = tl.load(TILES + 2 * tile + 1) * BLOCK
    start = tl.load(CU_SEQLENS + sequence).to(tl.int64)
    length = (tl.load(CU_SEQLENS + sequence + 1) - start).to(tl.int32)
    return start, length, row


@triton.jit
def reach(row, length, window, ROWS: tl.constexpr, STEP: tl.constexpr, LOCAL: tl.constexpr):  # type: ignore[no-untyped-def]
    """What rows [row, row + ROWS) attend to: its begin (a multiple of STEP), the end of its whole steps, its end."""
    begin = 0
    end = length
    if LOCAL:
        begin = tl.maximum(row - window, 0) // STEP * STEP
        end = tl.minimum(row + ROWS + window, length)
    whole = begin + (end - begin) // STEP * STEP
    return begin, whole, end


@triton.jit
def within(a, b, window):  # type: ignore[no-untyped-def]
    """|a - b| <= window, as a single unsigned compare."""
    return (a - b + window).to(tl.uint32) <= (2 * window).to(tl.uint32)


@triton.jit
def load_rows(X, rows, length, stride, COLUMNS: tl.constexpr, MASKED: tl.constexpr):  # type: ignore[no-untyped-def]
    """Rows of COLUMNS contiguous values; rows outside the sequence are 0, so nothing of a neighbour is ever read."""
    x = X + rows[:, None] * stride + tl.arange(0, COLUMNS)[None, :]
    if MASKED:
        return tl.load(x, mask=rows[:, None] < length, other=0.0)
    return tl.load(x)


@triton.jit
def load_halves(  # type: ignore[no-untyped-def]
    X, COS, SIN, rows, length, stride, HALF: tl.constexpr, MASKED: tl.constexpr, ROTATE: tl.constexpr
):
    """The two halves of rows of q or k, which RoPE pairs; turned by their positions if ROTATE."""
    first = load_rows(X, rows, length, stride, HALF, MASKED)
    second = load_rows(X + HALF, rows, length, stride, HALF, MASKED)
    if ROTATE:
        cos = load_rows(COS, rows, length, HALF, HALF, MASKED)
        sin = load_rows(SIN, rows, length, HALF, HALF, MASKED)
        a = first.to(tl.float32)
        b = second.to(tl.float32)
        first = (a * cos - b * sin).to(X.dtype.element_ty)
        second = (b * cos + a * sin).to(X.dtype.element_ty)
    return first, second


@triton.jit
def store_unrotated(X, COS, SIN, first, second, rows, length, stride, HALF: tl.constexpr):  # type: ignore[no-untyped-def]
    """Turn the gradient of rotated rows back and store it: RoPE's whole backward, at the cost of the angles."""
    cos = load_rows(COS, rows, length, HALF, HALF, True)
    sin = load_rows(SIN, rows, length, HALF, HALF, True)
    x = X + rows[:, None] * stride + tl.arange(0, HALF)[None, :]
    inside = rows[:, None] < length
    tl.store(x, (first * cos + second * sin).to(X.dtype.element_ty), mask=inside)
    tl.store(x + HALF, (second * cos - first * sin).to(X.dtype.element_ty), mask=inside)
