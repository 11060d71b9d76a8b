"""The forward attention kernel: one program per (tile of queries, head), with an online softmax over the attended keys.

Names follow flash-attention: m_i is the running maximum of a row's scores, l_i the running sum of their exponentials,
alpha the factor that rescales both l_i and the accumulator when the maximum grows.
"""

import triton
import triton.language as tl

from .triton_tiles import attended_range, attends, load_halves, load_rows, locate_tile

MASKED_SCORE = tl.constexpr(-1.0e30)
"""Finite, so that a step without a visible key computes no inf - inf. The row's first visible key rescales it to 0."""


@triton.jit(do_not_specialize=["tokens", "window"])
def attention_forward(  # type: ignore[no-untyped-def]
    Q, K, V, OUT, LSE, COS, SIN, CU_SEQLENS, TILES,
    stride_qk, stride_qk_head, stride_v, stride_v_head, stride_out, tokens, scale_log2, window,
    HALF: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
    LOCAL: tl.constexpr, CAUSAL: tl.constexpr, ROTATE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """OUT (T, H, D) and LSE (H, T), the log2 of each softmax denominator. scale_log2 = log2(e) / sqrt(D)."""
    seq_start, seqlen, first_row = locate_tile(TILES, CU_SEQLENS, BLOCK_M, CAUSAL)
    head = tl.program_id(1)
    K += seq_start * stride_qk + head * stride_qk_head
    V += seq_start * stride_v + head * stride_v_head
    offs_m = first_row + tl.arange(0, BLOCK_M)
    q = Q + seq_start * stride_qk + head * stride_qk_head
    q1, q2 = load_halves(q, COS, SIN, offs_m, seqlen, stride_qk, HALF, True, ROTATE)
    m_i = tl.full([BLOCK_M], MASKED_SCORE, tl.float32)
    l_i = tl.zeros([BLOCK_M], tl.float32)
    acc = tl.zeros([BLOCK_M, 2 * HALF], tl.float32)
    begin, full_end, end = attended_range(first_row, seqlen, window, BLOCK_M, BLOCK_N, LOCAL, True, not CAUSAL)
    if CAUSAL:  # before the tile, no step needs a mask but the window's
        full_end = first_row // BLOCK_N * BLOCK_N
    for start_n in tl.range(begin, full_end, BLOCK_N):
        m_i, l_i, acc = _attend(
            q1, q2, offs_m, m_i, l_i, acc, K, V, COS, SIN, start_n, seqlen, stride_qk, stride_v,
            scale_log2, window, HALF, BLOCK_N, LOCAL, CAUSAL, ROTATE, PRECISION, False,
        )  # fmt: skip
    if CAUSAL:
        for start_n in tl.range(full_end, end, BLOCK_N):
            m_i, l_i, acc = _attend(
                q1, q2, offs_m, m_i, l_i, acc, K, V, COS, SIN, start_n, seqlen, stride_qk, stride_v,
                scale_log2, window, HALF, BLOCK_N, LOCAL, CAUSAL, ROTATE, PRECISION, True,
            )  # fmt: skip
    elif full_end < end:
        m_i, l_i, acc = _attend(
            q1, q2, offs_m, m_i, l_i, acc, K, V, COS, SIN, full_end, seqlen, stride_qk, stride_v,
            scale_log2, window, HALF, BLOCK_N, LOCAL, CAUSAL, ROTATE, PRECISION, True,
        )  # fmt: skip
    mask = offs_m < seqlen
    acc = acc / l_i[:, None]
    out = OUT + (seq_start + offs_m[:, None]) * stride_out + head * 2 * HALF + tl.arange(0, 2 * HALF)[None, :]
    tl.store(out, acc.to(OUT.dtype.element_ty), mask=mask[:, None])
    tl.store(LSE + head.to(tl.int64) * tokens + seq_start + offs_m, m_i + tl.log2(l_i), mask=mask)


@triton.jit
def _attend(  # type: ignore[no-untyped-def]
    q1, q2, offs_m, m_i, l_i, acc, K, V, COS, SIN, start_n, seqlen, stride_qk, stride_v,
    scale_log2, window, HALF: tl.constexpr, BLOCK_N: tl.constexpr,
    LOCAL: tl.constexpr, CAUSAL: tl.constexpr, ROTATE: tl.constexpr, PRECISION: tl.constexpr, TAIL: tl.constexpr,
):  # fmt: skip
    """Add BLOCK_N keys to the online softmax. TAIL: the step may extend beyond the sequence and is masked; in a causal
    layer it meets the tile's own rows, and what is beyond the sequence is after all of them."""
    offs_n = start_n + tl.arange(0, BLOCK_N)
    k1, k2 = load_halves(K, COS, SIN, offs_n, seqlen, stride_qk, HALF, TAIL, ROTATE)
    v = load_rows(V, offs_n, seqlen, stride_v, 2 * HALF, TAIL)
    scores = tl.dot(q1, tl.trans(k1), input_precision=PRECISION)
    scores = tl.dot(q2, tl.trans(k2), scores, input_precision=PRECISION)
    if LOCAL or (CAUSAL and TAIL):
        scores = tl.where(attends(offs_m[:, None], offs_n[None, :], window, LOCAL, CAUSAL), scores, MASKED_SCORE)
    if TAIL and not CAUSAL:
        scores = tl.where(offs_n[None, :] < seqlen, scores, MASKED_SCORE)
    m_new = tl.maximum(m_i, tl.max(scores, 1) * scale_log2)
    p = tl.exp2(scores * scale_log2 - m_new[:, None])
    alpha = tl.exp2(m_i - m_new)
    l_i = l_i * alpha + tl.sum(p, 1)
    acc = tl.dot(p.to(v.dtype), v, acc * alpha[:, None], input_precision=PRECISION)
    return m_new, l_i, acc
