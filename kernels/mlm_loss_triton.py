"""Cross-entropy of a chunk of logits as a Triton kernel: loss, correctness, and the gradient written over the logits.

Each row is read twice: once for its running maximum and sum, once for the gradient. The second read mostly hits the L2
cache. Holding all 50,368 logits of a row in registers instead would spill.
"""

import torch
import triton
import triton.language as tl

from .launch import launch

BLOCK = 4096
"""Logits per step: sixteen for each of the 256 threads, two 128-bit loads of bf16."""


@triton.jit
def cross_entropy(LOGITS, TARGETS, LOSSES, CORRECT, stride, vocab_size, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """One program per row. A target of -100 is ignored; any other target outside the vocabulary makes the loss NaN."""
    row = tl.program_id(0).to(tl.int64)
    logits = LOGITS + row * stride
    target = tl.load(TARGETS + row)
    counted = target != -100
    valid = (target >= 0) & (target < vocab_size)
    target_logit = tl.load(logits + target, mask=valid, other=float("nan")).to(tl.float32)
    log2_e: tl.constexpr = 1.4426950408889634
    m_i = tl.full([BLOCK], -1.0e30, tl.float32)
    l_i = tl.zeros([BLOCK], tl.float32)
    better = tl.zeros([BLOCK], tl.int32)
    for start in tl.range(0, vocab_size, BLOCK):
        column = start + tl.arange(0, BLOCK)
        x = tl.load(logits + column, mask=column < vocab_size, other=-float("inf")).to(tl.float32)
        better += ((x > target_logit) | ((x == target_logit) & (column < target))).to(tl.int32)
        x = x * log2_e
        m_new = tl.maximum(m_i, x)
        l_i = l_i * tl.exp2(m_i - m_new) + tl.exp2(x - m_new)
        m_i = m_new
    m = tl.max(m_i, 0)
    lse_log2 = m + tl.log2(tl.sum(l_i * tl.exp2(m_i - m), 0))
    tl.store(LOSSES + row, tl.where(counted, lse_log2 / log2_e - target_logit, 0.0))
    tl.store(CORRECT + row, (counted & (tl.sum(better, 0) == 0)).to(tl.int64))
    for start in tl.range(0, vocab_size, BLOCK):
        column = start + tl.arange(0, BLOCK)
        x = tl.load(logits + column, mask=column < vocab_size, other=0.0).to(tl.float32)
        grad = tl.exp2(x * log2_e - lse_log2) - (column == target).to(tl.float32)
        grad = tl.where(counted, grad, 0.0).to(LOGITS.dtype.element_ty)
        tl.store(logits + column, grad, mask=column < vocab_size)


@torch.library.custom_op("clinical_modernbert::cross_entropy_", mutates_args=("logits",))
def triton_cross_entropy_(logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(losses fp32 (m,), correct int64 (m,)) of logits (m, V). The logits are overwritten with their gradient."""
    losses, correct = _outputs(logits)
    rows, vocab_size = logits.shape
    launch(
        cross_entropy, (rows,), logits, targets, losses, correct, logits.stride(0), vocab_size, BLOCK, num_warps=8
    )  # fmt: skip
    return losses, correct


@triton_cross_entropy_.register_fake
def _(logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return _outputs(logits)


def _outputs(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return logits.new_empty(len(logits), dtype=torch.float32), logits.new_empty(len(logits), dtype=torch.int64)
