"""Shared by the three attention kernels: a program's tile, what it attends to, and loading rows of q, k and v."""

import triton
import triton.language as tl


@triton.jit
def locate_tile(TILES, CU_SEQLENS, BLOCK: tl.constexpr, LAST_FIRST: tl.constexpr):  # type: ignore[no-untyped-def]
    """This program's tile: its sequence's first token in the stream, that sequence's length, and the tile's first row.

    Rows are positions in the sequence. LAST_FIRST: a sequence's tiles in reverse, since the last attend to most."""
    tile = tl.program_id(0)
    sequence = tl.load(TILES + 2 * tile)
    first_row = tl.load(TILES + 2 * tile + 1) * BLOCK
    seq_start = tl.load(CU_SEQLENS + sequence).to(tl.int64)
    seqlen = (tl.load(CU_SEQLENS + sequence + 1) - seq_start).to(tl.int32)
    if LAST_FIRST:
        first_row = (seqlen - 1) // BLOCK * BLOCK - first_row
    return seq_start, seqlen, first_row


@triton.jit
def attended_range(  # type: ignore[no-untyped-def]
    first_row, seqlen, window,
    ROWS: tl.constexpr, STEP: tl.constexpr, LOCAL: tl.constexpr, BEFORE: tl.constexpr, AFTER: tl.constexpr,
):  # fmt: skip
    """The positions that meet rows [first_row, first_row + ROWS) in attention, for a loop in steps of STEP.

    BEFORE, AFTER: whether there are any before the tile, and after it. Causal queries meet no later keys, and causal
    keys no earlier queries.

    Returns the begin (a multiple of STEP), the end of the full steps, and the end."""
    begin = 0
    end = seqlen
    if LOCAL:
        begin = tl.maximum(first_row - window, 0) // STEP * STEP
        end = tl.minimum(first_row + ROWS + window, seqlen)
    if not BEFORE:
        begin = first_row // STEP * STEP
    if not AFTER:
        end = tl.minimum(first_row + ROWS, seqlen)
    full_end = begin + (end - begin) // STEP * STEP
    return begin, full_end, end


@triton.jit
def attends(queries, keys, window, LOCAL: tl.constexpr, CAUSAL: tl.constexpr):  # type: ignore[no-untyped-def]
    """Which query attends to which key, in one comparison: |q - k| <= window; 0 <= q - k <= window; or q >= k.

    Not for a layer that is neither local nor causal."""
    if CAUSAL and LOCAL:
        attended = (queries - keys).to(tl.uint32) <= window.to(tl.uint32)
    elif CAUSAL:
        attended = queries >= keys
    else:
        attended = (queries - keys + window).to(tl.uint32) <= (2 * window).to(tl.uint32)
    return attended


@triton.jit
def load_rows(X, rows, seqlen, stride, COLUMNS: tl.constexpr, MASKED: tl.constexpr):  # type: ignore[no-untyped-def]
    """Rows of COLUMNS contiguous values. If MASKED, rows beyond the sequence are 0, so no other sequence is read."""
    x = X + rows[:, None] * stride + tl.arange(0, COLUMNS)[None, :]
    if MASKED:
        return tl.load(x, mask=rows[:, None] < seqlen, other=0.0)
    return tl.load(x)


@triton.jit
def load_halves(  # type: ignore[no-untyped-def]
    X, COS, SIN, rows, seqlen, stride, HALF: tl.constexpr, MASKED: tl.constexpr, ROTATE: tl.constexpr
):
    """The two halves of rows of q or k that RoPE pairs, HALF = D/2 values each; rotated by position if ROTATE."""
    first = load_rows(X, rows, seqlen, stride, HALF, MASKED)
    second = load_rows(X + HALF, rows, seqlen, stride, HALF, MASKED)
    if ROTATE:
        cos = load_rows(COS, rows, seqlen, HALF, HALF, MASKED)
        sin = load_rows(SIN, rows, seqlen, HALF, HALF, MASKED)
        a = first.to(tl.float32)
        b = second.to(tl.float32)
        first = (a * cos - b * sin).to(X.dtype.element_ty)
        second = (b * cos + a * sin).to(X.dtype.element_ty)
    return first, second


@triton.jit
def store_unrotated(X, COS, SIN, first, second, rows, seqlen, stride, HALF: tl.constexpr):  # type: ignore[no-untyped-def]
    """Rotate the gradient of rotated rows back and store it: the backward of RoPE, fused."""
    cos = load_rows(COS, rows, seqlen, HALF, HALF, True)
    sin = load_rows(SIN, rows, seqlen, HALF, HALF, True)
    x = X + rows[:, None] * stride + tl.arange(0, HALF)[None, :]
    mask = rows[:, None] < seqlen
    tl.store(x, (first * cos + second * sin).to(X.dtype.element_ty), mask=mask)
    tl.store(x + HALF, (second * cos - first * sin).to(X.dtype.element_ty), mask=mask)
