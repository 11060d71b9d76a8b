"""The two backward attention kernels. Each program owns its rows of the gradient. There are no atomics, so the result
is the same bit for bit in every run.

With P = softmax(S), dS = P * (dP - delta) and delta = rowsum(dO * O), the first kernel loops over keys for dQ and also
stores delta; the second loops over queries for dK and dV. Both apply the inverse RoPE to their result before storing.
"""

import triton
import triton.language as tl

from .triton_tiles import attended_range, attends, load_halves, load_rows, locate_tile, store_unrotated


@triton.jit(do_not_specialize=["tokens", "window"])
def attention_backward_dq(  # type: ignore[no-untyped-def]
    Q, K, V, OUT, GRAD_OUT, LSE, DELTA, GRAD_Q, COS, SIN, CU_SEQLENS, TILES,
    stride_qk, stride_qk_head, stride_v, stride_v_head, stride_out, stride_grad, tokens, scale, scale_log2, window,
    HALF: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    LOCAL: tl.constexpr, CAUSAL: tl.constexpr, ROTATE: tl.constexpr, PRECISION: tl.constexpr, PEEL: tl.constexpr,
):  # fmt: skip
    """GRAD_Q (T, H, D) with token stride stride_grad, and DELTA (H, T)."""
    seq_start, seqlen, first_row = locate_tile(TILES, CU_SEQLENS, BLOCK_M, CAUSAL)
    head = tl.program_id(1)
    K += seq_start * stride_qk + head * stride_qk_head
    V += seq_start * stride_v + head * stride_v_head
    offs_m = first_row + tl.arange(0, BLOCK_M)
    mask = offs_m < seqlen
    offset = seq_start * stride_out + head * 2 * HALF
    grad_out = load_rows(GRAD_OUT + offset, offs_m, seqlen, stride_out, 2 * HALF, True)
    out = load_rows(OUT + offset, offs_m, seqlen, stride_out, 2 * HALF, True)
    delta = tl.sum(out.to(tl.float32) * grad_out.to(tl.float32), 1)
    offs_lse = head.to(tl.int64) * tokens + seq_start + offs_m
    tl.store(DELTA + offs_lse, delta, mask=mask)
    lse = tl.load(LSE + offs_lse, mask=mask, other=0.0)
    q = Q + seq_start * stride_qk + head * stride_qk_head
    q1, q2 = load_halves(q, COS, SIN, offs_m, seqlen, stride_qk, HALF, True, ROTATE)
    dq1 = tl.zeros([BLOCK_M, HALF], tl.float32)
    dq2 = tl.zeros([BLOCK_M, HALF], tl.float32)
    begin, full_end, end = attended_range(first_row, seqlen, window, BLOCK_M, BLOCK_N, LOCAL, True, not CAUSAL)
    if CAUSAL:  # before the tile, no step needs a mask but the window's
        full_end = first_row // BLOCK_N * BLOCK_N
    for start_n in tl.range(begin, full_end if PEEL else end, BLOCK_N):
        dq1, dq2 = _add_dq(
            dq1, dq2, q1, q2, grad_out, lse, delta, offs_m, K, V, COS, SIN, start_n, seqlen, stride_qk, stride_v,
            scale_log2, window, HALF, BLOCK_N, LOCAL, CAUSAL, ROTATE, PRECISION, not PEEL,
        )  # fmt: skip
    if PEEL and CAUSAL:
        for start_n in tl.range(full_end, end, BLOCK_N):
            dq1, dq2 = _add_dq(
                dq1, dq2, q1, q2, grad_out, lse, delta, offs_m, K, V, COS, SIN, start_n, seqlen, stride_qk, stride_v,
                scale_log2, window, HALF, BLOCK_N, LOCAL, CAUSAL, ROTATE, PRECISION, True,
            )  # fmt: skip
    elif PEEL and full_end < end:
        dq1, dq2 = _add_dq(
            dq1, dq2, q1, q2, grad_out, lse, delta, offs_m, K, V, COS, SIN, full_end, seqlen, stride_qk, stride_v,
            scale_log2, window, HALF, BLOCK_N, LOCAL, CAUSAL, ROTATE, PRECISION, True,
        )  # fmt: skip
    GRAD_Q += seq_start * stride_grad + head * 2 * HALF
    store_unrotated(GRAD_Q, COS, SIN, dq1 * scale, dq2 * scale, offs_m, seqlen, stride_grad, HALF)


@triton.jit
def _add_dq(  # type: ignore[no-untyped-def]
    dq1, dq2, q1, q2, grad_out, lse, delta, offs_m, K, V, COS, SIN, start_n, seqlen, stride_qk, stride_v,
    scale_log2, window, HALF: tl.constexpr, BLOCK_N: tl.constexpr,
    LOCAL: tl.constexpr, CAUSAL: tl.constexpr, ROTATE: tl.constexpr, PRECISION: tl.constexpr, TAIL: tl.constexpr,
):  # fmt: skip
    offs_n = start_n + tl.arange(0, BLOCK_N)
    k1, k2 = load_halves(K, COS, SIN, offs_n, seqlen, stride_qk, HALF, TAIL, ROTATE)
    v = load_rows(V, offs_n, seqlen, stride_v, 2 * HALF, TAIL)
    scores = tl.dot(q1, tl.trans(k1), input_precision=PRECISION)
    scores = tl.dot(q2, tl.trans(k2), scores, input_precision=PRECISION)
    p = tl.exp2(scores * scale_log2 - lse[:, None])
    if LOCAL or (CAUSAL and TAIL):
        p = tl.where(attends(offs_m[:, None], offs_n[None, :], window, LOCAL, CAUSAL), p, 0.0)
    if TAIL and not CAUSAL:  # keys past the end score 0, and exp2 overflows if all real scores are very negative
        p = tl.where(offs_n[None, :] < seqlen, p, 0.0)
    dp = tl.dot(grad_out, tl.trans(v), input_precision=PRECISION)
    ds = (p * (dp - delta[:, None])).to(k1.dtype)
    dq1 = tl.dot(ds, k1, dq1, input_precision=PRECISION)
    dq2 = tl.dot(ds, k2, dq2, input_precision=PRECISION)
    return dq1, dq2


@triton.jit(do_not_specialize=["tokens", "window"])
def attention_backward_dkdv(  # type: ignore[no-untyped-def]
    Q, K, V, GRAD_OUT, LSE, DELTA, GRAD_K, GRAD_V, COS, SIN, CU_SEQLENS, TILES,
    stride_qk, stride_qk_head, stride_v, stride_v_head, stride_out, stride_grad, tokens, scale, scale_log2, window,
    HALF: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    LOCAL: tl.constexpr, CAUSAL: tl.constexpr, ROTATE: tl.constexpr, PRECISION: tl.constexpr, PEEL: tl.constexpr,
):  # fmt: skip
    """GRAD_K and GRAD_V (T, H, D) with token stride stride_grad."""
    seq_start, seqlen, first_row = locate_tile(TILES, CU_SEQLENS, BLOCK_N, False)
    head = tl.program_id(1)
    Q += seq_start * stride_qk + head * stride_qk_head
    GRAD_OUT += seq_start * stride_out + head * 2 * HALF
    LSE += head.to(tl.int64) * tokens + seq_start
    DELTA += head.to(tl.int64) * tokens + seq_start
    offs_n = first_row + tl.arange(0, BLOCK_N)
    k = K + seq_start * stride_qk + head * stride_qk_head
    k1, k2 = load_halves(k, COS, SIN, offs_n, seqlen, stride_qk, HALF, True, ROTATE)
    v = load_rows(V + seq_start * stride_v + head * stride_v_head, offs_n, seqlen, stride_v, 2 * HALF, True)
    dk1 = tl.zeros([BLOCK_N, HALF], tl.float32)
    dk2 = tl.zeros([BLOCK_N, HALF], tl.float32)
    dv = tl.zeros([BLOCK_N, 2 * HALF], tl.float32)
    begin, full_end, end = attended_range(first_row, seqlen, window, BLOCK_N, BLOCK_M, LOCAL, not CAUSAL, True)
    if PEEL and CAUSAL and not LOCAL:  # the tile's own rows come first; after them no step needs a mask but the tail
        diagonal_end = tl.cdiv(first_row + BLOCK_N, BLOCK_M) * BLOCK_M
        for start_m in tl.range(begin, tl.minimum(diagonal_end, end), BLOCK_M):
            dk1, dk2, dv = _add_dkdv(
                dk1, dk2, dv, k1, k2, v, offs_n, Q, GRAD_OUT, LSE, DELTA, COS, SIN, start_m, seqlen, stride_qk,
                stride_out, scale_log2, window, HALF, BLOCK_M, LOCAL, CAUSAL, ROTATE, PRECISION, True,
            )  # fmt: skip
        begin = diagonal_end
        full_end = tl.maximum(diagonal_end, full_end)
    for start_m in tl.range(begin, full_end if PEEL else end, BLOCK_M):
        dk1, dk2, dv = _add_dkdv(
            dk1, dk2, dv, k1, k2, v, offs_n, Q, GRAD_OUT, LSE, DELTA, COS, SIN, start_m, seqlen, stride_qk, stride_out,
            scale_log2, window, HALF, BLOCK_M, LOCAL, CAUSAL, ROTATE, PRECISION, not PEEL,
        )  # fmt: skip
    if PEEL and full_end < end:
        dk1, dk2, dv = _add_dkdv(
            dk1, dk2, dv, k1, k2, v, offs_n, Q, GRAD_OUT, LSE, DELTA, COS, SIN, full_end, seqlen, stride_qk, stride_out,
            scale_log2, window, HALF, BLOCK_M, LOCAL, CAUSAL, ROTATE, PRECISION, True,
        )  # fmt: skip
    offset = seq_start * stride_grad + head * 2 * HALF
    grad_v = GRAD_V + offset + offs_n[:, None] * stride_grad + tl.arange(0, 2 * HALF)[None, :]
    tl.store(grad_v, dv.to(GRAD_V.dtype.element_ty), mask=offs_n[:, None] < seqlen)
    store_unrotated(GRAD_K + offset, COS, SIN, dk1 * scale, dk2 * scale, offs_n, seqlen, stride_grad, HALF)


@triton.jit
def _add_dkdv(  # type: ignore[no-untyped-def]
    dk1, dk2, dv, k1, k2, v, offs_n, Q, GRAD_OUT, LSE, DELTA, COS, SIN, start_m, seqlen, stride_qk, stride_out,
    scale_log2, window, HALF: tl.constexpr, BLOCK_M: tl.constexpr,
    LOCAL: tl.constexpr, CAUSAL: tl.constexpr, ROTATE: tl.constexpr, PRECISION: tl.constexpr, TAIL: tl.constexpr,
):  # fmt: skip
    """Add BLOCK_M queries to dK and dV. Queries past the end need no mask on p: their q and dO are zeros and their lse
    is 0, so that p is 1 and everything it multiplies is 0."""
    offs_m = start_m + tl.arange(0, BLOCK_M)
    q1, q2 = load_halves(Q, COS, SIN, offs_m, seqlen, stride_qk, HALF, TAIL, ROTATE)
    grad_out = load_rows(GRAD_OUT, offs_m, seqlen, stride_out, 2 * HALF, TAIL)
    if TAIL:
        lse = tl.load(LSE + offs_m, mask=offs_m < seqlen, other=0.0)
        delta = tl.load(DELTA + offs_m, mask=offs_m < seqlen, other=0.0)
    else:
        lse = tl.load(LSE + offs_m)
        delta = tl.load(DELTA + offs_m)
    scores = tl.dot(k1, tl.trans(q1), input_precision=PRECISION)
    scores = tl.dot(k2, tl.trans(q2), scores, input_precision=PRECISION)
    p = tl.exp2(scores * scale_log2 - lse[None, :])
    if LOCAL or (CAUSAL and TAIL):
        p = tl.where(attends(offs_m[None, :], offs_n[:, None], window, LOCAL, CAUSAL), p, 0.0)
    dv = tl.dot(p.to(grad_out.dtype), grad_out, dv, input_precision=PRECISION)
    dp = tl.dot(v, tl.trans(grad_out), input_precision=PRECISION)
    ds = (p * (dp - delta[None, :])).to(q1.dtype)
    dk1 = tl.dot(ds, q1, dk1, input_precision=PRECISION)
    dk2 = tl.dot(ds, q2, dk2, input_precision=PRECISION)
    return dk1, dk2, dv
