"""The forward attention kernel: one program a (tile of queries, head), an online softmax over the keys in reach."""

import triton
import triton.language as tl

from .triton_tiles import load_halves, load_rows, locate, reach, within

MASKED_SCORE = tl.constexpr(-1.0e30)
"""Finite, so that a step in which a row sees no key makes no inf - inf; the row's first real key wipes it out."""


@triton.jit(do_not_specialize=["total", "window"])
def attention_forward(  # type: ignore[no-untyped-def]
    Q, K, V, OUT, LSE, COS, SIN, CU_SEQLENS, TILES,
    stride_qk, stride_qk_head, stride_v, stride_v_head, stride_out, total, scale_log2, window,
    HALF: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr,
    LOCAL: tl.constexpr, ROTATE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """OUT (T, H, D) and LSE (H, T), the log2 of the softmax's normaliser. scale_log2 = log2(e) / sqrt(D)."""
    start, length, row = locate(TILES, CU_SEQLENS, QUERIES)
    head = tl.program_id(1)
    K += start * stride_qk + head * stride_qk_head
    V += start * stride_v + head * stride_v_head
    queries = row + tl.arange(0, QUERIES)
    q = Q + start * stride_qk + head * stride_qk_head
    q1, q2 = load_halves(q, COS, SIN, queries, length, stride_qk, HALF, True, ROTATE)
    peak = tl.full([QUERIES], MASKED_SCORE, tl.float32)
    norm = tl.zeros([QUERIES], tl.float32)
    out = tl.zeros([QUERIES, 2 * HALF], tl.float32)
    begin, whole, end = reach(row, length, window, QUERIES, KEYS, LOCAL)
    for step in tl.range(begin, whole, KEYS):
        peak, norm, out = _attend(
            q1, q2, queries, peak, norm, out, K, V, COS, SIN, step, length, stride_qk, stride_v,
            scale_log2, window, HALF, KEYS, LOCAL, ROTATE, PRECISION, False,
        )  # fmt: skip
    if whole < end:
        peak, norm, out = _attend(
            q1, q2, queries, peak, norm, out, K, V, COS, SIN, whole, length, stride_qk, stride_v,
            scale_log2, window, HALF, KEYS, LOCAL, ROTATE, PRECISION, True,
        )  # fmt: skip
    inside = queries < length
    out = out / norm[:, None]
    o = OUT + (start + queries[:, None]) * stride_out + head * 2 * HALF + tl.arange(0, 2 * HALF)[None, :]
    tl.store(o, out.to(OUT.dtype.element_ty), mask=inside[:, None])
    tl.store(LSE + head.to(tl.int64) * total + start + queries, peak + tl.log2(norm), mask=inside)


@triton.jit
def _attend(  # type: ignore[no-untyped-def]
    q1, q2, queries, peak, norm, out, K, V, COS, SIN, step, length, stride_qk, stride_v,
    scale_log2, window, HALF: tl.constexpr, KEYS: tl.constexpr,
    LOCAL: tl.constexpr, ROTATE: tl.constexpr, PRECISION: tl.constexpr, TAIL: tl.constexpr,
):  # fmt: skip
    """Add KEYS keys to the online softmax. Only the tail of a sequence is masked by its length."""
    keys = step + tl.arange(0, KEYS)
    k1, k2 = load_halves(K, COS, SIN, keys, length, stride_qk, HALF, TAIL, ROTATE)
    v = load_rows(V, keys, length, stride_v, 2 * HALF, TAIL)
    scores = tl.dot(q1, tl.trans(k1), input_precision=PRECISION)
    scores = tl.dot(q2, tl.trans(k2), scores, input_precision=PRECISION)
    if LOCAL:
        scores = tl.where(within(queries[:, None], keys[None, :], window), scores, MASKED_SCORE)
    if TAIL:
        scores = tl.where(keys[None, :] < length, scores, MASKED_SCORE)
    higher = tl.maximum(peak, tl.max(scores, 1) * scale_log2)
    p = tl.exp2(scores * scale_log2 - higher[:, None])
    shrink = tl.exp2(peak - higher)
    norm = norm * shrink + tl.sum(p, 1)
    out = tl.dot(p.to(v.dtype), v, out * shrink[:, None], input_precision=PRECISION)
    return higher, norm, out
