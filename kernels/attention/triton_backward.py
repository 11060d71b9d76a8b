"""The two backward attention kernels. Each program owns its rows of the gradient: no atomics, so a run repeats bitwise.

With P = softmax(S), dS = P * (dP - delta), delta = rowsum(dO * O): the first kernel walks over keys for dQ (and leaves
delta behind), the second over queries for dK and dV. Both turn their result back by RoPE before storing it.
"""

import triton
import triton.language as tl

from .triton_tiles import load_halves, load_rows, locate, reach, store_unrotated, within


@triton.jit(do_not_specialize=["total", "window"])
def attention_backward_dq(  # type: ignore[no-untyped-def]
    Q, K, V, OUT, GRAD_OUT, LSE, DELTA, GRAD_Q, COS, SIN, CU_SEQLENS, TILES,
    stride_qk, stride_qk_head, stride_v, stride_v_head, stride_out, stride_grad, total, scale, scale_log2, window,
    HALF: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr,
    LOCAL: tl.constexpr, ROTATE: tl.constexpr, PRECISION: tl.constexpr, PEEL: tl.constexpr,
):  # fmt: skip
    """GRAD_Q (T, H, D) with token stride stride_grad, and DELTA (H, T)."""
    start, length, row = locate(TILES, CU_SEQLENS, QUERIES)
    head = tl.program_id(1)
    K += start * stride_qk + head * stride_qk_head
    V += start * stride_v + head * stride_v_head
    queries = row + tl.arange(0, QUERIES)
    inside = queries < length
    own = start * stride_out + head * 2 * HALF
    grad_out = load_rows(GRAD_OUT + own, queries, length, stride_out, 2 * HALF, True)
    out = load_rows(OUT + own, queries, length, stride_out, 2 * HALF, True)
    delta = tl.sum(out.to(tl.float32) * grad_out.to(tl.float32), 1)
    statistic = head.to(tl.int64) * total + start + queries
    tl.store(DELTA + statistic, delta, mask=inside)
    lse = tl.load(LSE + statistic, mask=inside, other=0.0)
    q = Q + start * stride_qk + head * stride_qk_head
    q1, q2 = load_halves(q, COS, SIN, queries, length, stride_qk, HALF, True, ROTATE)
    dq1 = tl.zeros([QUERIES, HALF], tl.float32)
    dq2 = tl.zeros([QUERIES, HALF], tl.float32)
    begin, whole, end = reach(row, length, window, QUERIES, KEYS, LOCAL)
    for step in tl.range(begin, whole if PEEL else end, KEYS):
        dq1, dq2 = _add_dq(
            dq1, dq2, q1, q2, grad_out, lse, delta, queries, K, V, COS, SIN, step, length, stride_qk, stride_v,
            scale_log2, window, HALF, KEYS, LOCAL, ROTATE, PRECISION, not PEEL,
        )  # fmt: skip
    if PEEL and whole < end:
        dq1, dq2 = _add_dq(
            dq1, dq2, q1, q2, grad_out, lse, delta, queries, K, V, COS, SIN, whole, length, stride_qk, stride_v,
            scale_log2, window, HALF, KEYS, LOCAL, ROTATE, PRECISION, True,
        )  # fmt: skip
    GRAD_Q += start * stride_grad + head * 2 * HALF
    store_unrotated(GRAD_Q, COS, SIN, dq1 * scale, dq2 * scale, queries, length, stride_grad, HALF)


@triton.jit
def _add_dq(  # type: ignore[no-untyped-def]
    dq1, dq2, q1, q2, grad_out, lse, delta, queries, K, V, COS, SIN, step, length, stride_qk, stride_v,
    scale_log2, window, HALF: tl.constexpr, KEYS: tl.constexpr,
    LOCAL: tl.constexpr, ROTATE: tl.constexpr, PRECISION: tl.constexpr, TAIL: tl.constexpr,
):  # fmt: skip
    keys = step + tl.arange(0, KEYS)
    k1, k2 = load_halves(K, COS, SIN, keys, length, stride_qk, HALF, TAIL, ROTATE)
    v = load_rows(V, keys, length, stride_v, 2 * HALF, TAIL)
    scores = tl.dot(q1, tl.trans(k1), input_precision=PRECISION)
    scores = tl.dot(q2, tl.trans(k2), scores, input_precision=PRECISION)
    p = tl.exp2(scores * scale_log2 - lse[:, None])
    if LOCAL:
        p = tl.where(within(queries[:, None], keys[None, :], window), p, 0.0)
    if TAIL:  # a key that is not there scores 0, whose p overflows where all real scores are very negative
        p = tl.where(keys[None, :] < length, p, 0.0)
    dp = tl.dot(grad_out, tl.trans(v), input_precision=PRECISION)
    ds = (p * (dp - delta[:, None])).to(k1.dtype)
    dq1 = tl.dot(ds, k1, dq1, input_precision=PRECISION)
    dq2 = tl.dot(ds, k2, dq2, input_precision=PRECISION)
    return dq1, dq2


@triton.jit(do_not_specialize=["total", "window"])
def attention_backward_dkdv(  # type: ignore[no-untyped-def]
    Q, K, V, GRAD_OUT, LSE, DELTA, GRAD_K, GRAD_V, COS, SIN, CU_SEQLENS, TILES,
    stride_qk, stride_qk_head, stride_v, stride_v_head, stride_out, stride_grad, total, scale, scale_log2, window,
    HALF: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr,
    LOCAL: tl.constexpr, ROTATE: tl.constexpr, PRECISION: tl.constexpr, PEEL: tl.constexpr,
):  # fmt: skip
    """GRAD_K and GRAD_V (T, H, D) with token stride stride_grad."""
    start, length, row = locate(TILES, CU_SEQLENS, KEYS)
    head = tl.program_id(1)
    Q += start * stride_qk + head * stride_qk_head
    GRAD_OUT += start * stride_out + head * 2 * HALF
    LSE += head.to(tl.int64) * total + start
    DELTA += head.to(tl.int64) * total + start
    keys = row + tl.arange(0, KEYS)
    k = K + start * stride_qk + head * stride_qk_head
    k1, k2 = load_halves(k, COS, SIN, keys, length, stride_qk, HALF, True, ROTATE)
    v = load_rows(V + start * stride_v + head * stride_v_head, keys, length, stride_v, 2 * HALF, True)
    dk1 = tl.zeros([KEYS, HALF], tl.float32)
    dk2 = tl.zeros([KEYS, HALF], tl.float32)
    dv = tl.zeros([KEYS, 2 * HALF], tl.float32)
    begin, whole, end = reach(row, length, window, KEYS, QUERIES, LOCAL)
    for step in tl.range(begin, whole if PEEL else end, QUERIES):
        dk1, dk2, dv = _add_dkdv(
            dk1, dk2, dv, k1, k2, v, keys, Q, GRAD_OUT, LSE, DELTA, COS, SIN, step, length, stride_qk, stride_out,
            scale_log2, window, HALF, QUERIES, LOCAL, ROTATE, PRECISION, not PEEL,
        )  # fmt: skip
    if PEEL and whole < end:
        dk1, dk2, dv = _add_dkdv(
            dk1, dk2, dv, k1, k2, v, keys, Q, GRAD_OUT, LSE, DELTA, COS, SIN, whole, length, stride_qk, stride_out,
            scale_log2, window, HALF, QUERIES, LOCAL, ROTATE, PRECISION, True,
        )  # fmt: skip
    own = start * stride_grad + head * 2 * HALF
    grad_v = GRAD_V + own + keys[:, None] * stride_grad + tl.arange(0, 2 * HALF)[None, :]
    tl.store(grad_v, dv.to(GRAD_V.dtype.element_ty), mask=keys[:, None] < length)
    store_unrotated(GRAD_K + own, COS, SIN, dk1 * scale, dk2 * scale, keys, length, stride_grad, HALF)


@triton.jit
def _add_dkdv(  # type: ignore[no-untyped-def]
    dk1, dk2, dv, k1, k2, v, keys, Q, GRAD_OUT, LSE, DELTA, COS, SIN, step, length, stride_qk, stride_out,
    scale_log2, window, HALF: tl.constexpr, QUERIES: tl.constexpr,
    LOCAL: tl.constexpr, ROTATE: tl.constexpr, PRECISION: tl.constexpr, TAIL: tl.constexpr,
):  # fmt: skip
    """Queries that are not there are rows of zeros with lse 0: p is 1 and what it multiplies is 0, so no mask."""
    queries = step + tl.arange(0, QUERIES)
    q1, q2 = load_halves(Q, COS, SIN, queries, length, stride_qk, HALF, TAIL, ROTATE)
    grad_out = load_rows(GRAD_OUT, queries, length, stride_out, 2 * HALF, TAIL)
    if TAIL:
        lse = tl.load(LSE + queries, mask=queries < length, other=0.0)
        delta = tl.load(DELTA + queries, mask=queries < length, other=0.0)
    else:
        lse = tl.load(LSE + queries)
        delta = tl.load(DELTA + queries)
    scores = tl.dot(k1, tl.trans(q1), input_precision=PRECISION)
    scores = tl.dot(k2, tl.trans(q2), scores, input_precision=PRECISION)
    p = tl.exp2(scores * scale_log2 - lse[None, :])
    if LOCAL:
        p = tl.where(within(queries[None, :], keys[:, None], window), p, 0.0)
    dv = tl.dot(p.to(grad_out.dtype), grad_out, dv, input_precision=PRECISION)
    dp = tl.dot(v, tl.trans(grad_out), input_precision=PRECISION)
    ds = (p * (dp - delta[None, :])).to(q1.dtype)
    dk1 = tl.dot(ds, q1, dk1, input_precision=PRECISION)
    dk2 = tl.dot(ds, q2, dk2, input_precision=PRECISION)
    return dk1, dk2, dv
