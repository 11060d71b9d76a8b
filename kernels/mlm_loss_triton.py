"""Cross-entropy of a chunk of logits as a Triton kernel: loss, hits, and the gradient written over the logits.

A row is read twice (its running maximum and sum, then the gradient), the second time mostly from the L2 cache; holding
50,368 logits in registers instead would spill.
"""

import torch
import triton
import triton.language as tl

BLOCK = 4096
"""Logits a step: sixteen for each of the 256 threads, two 128-bit loads of bf16."""


@triton.jit
def cross_entropy(LOGITS, TARGETS, LOSSES, RIGHT, stride, vocabulary, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """One row a program. A target of -100 counts for nothing; any other outside the vocabulary makes the loss NaN."""
    row = tl.program_id(0).to(tl.int64)
    logits = LOGITS + row * stride
    target = tl.load(TARGETS + row)
    counted = target != -100
    wanted = tl.load(logits + target, mask=(target >= 0) & (target < vocabulary), other=float("nan")).to(tl.float32)
    log2_e: tl.constexpr = 1.4426950408889634
    peaks = tl.full([BLOCK], -1.0e30, tl.float32)
    sums = tl.zeros([BLOCK], tl.float32)
    better = tl.zeros([BLOCK], tl.int32)
    for start in tl.range(0, vocabulary, BLOCK):
        column = start + tl.arange(0, BLOCK)
        x = tl.load(logits + column, mask=column < vocabulary, other=-float("inf")).to(tl.float32)
        better += ((x > wanted) | ((x == wanted) & (column < target))).to(tl.int32)
        x = x * log2_e
        higher = tl.maximum(peaks, x)
        sums = sums * tl.exp2(peaks - higher) + tl.exp2(x - higher)
        peaks = higher
    peak = tl.max(peaks, 0)
    log2_norm = peak + tl.log2(tl.sum(sums * tl.exp2(peaks - peak), 0))
    tl.store(LOSSES + row, tl.where(counted, log2_norm / log2_e - wanted, 0.0))
    tl.store(RIGHT + row, (counted & (tl.sum(better, 0) == 0)).to(tl.int64))
    for start in tl.range(0, vocabulary, BLOCK):
        column = start + tl.arange(0, BLOCK)
        x = tl.load(logits + column, mask=column < vocabulary, other=0.0).to(tl.float32)
        grad = tl.exp2(x * log2_e - log2_norm) - (column == target).to(tl.float32)
        grad = tl.where(counted, grad, 0.0).to(LOGITS.dtype.element_ty)
        tl.store(logits + column, grad, mask=column < vocabulary)


@torch.library.custom_op("clinical_modernbert::cross_entropy_", mutates_args=("logits",))
def triton_cross_entropy_(logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(losses fp32 (m,), hits int64 (m,)) of logits (m, V), which become their gradient."""
    losses, right = _outputs(logits)
    if logits.shape[0]:
        with torch.cuda.device_of(logits):
            cross_entropy[(logits.shape[0],)](
                logits, targets, losses, right, logits.stride(0), logits.shape[1], BLOCK, num_warps=8
            )
    return losses, right


@triton_cross_entropy_.register_fake
def _(logits: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return _outputs(logits)


def _outputs(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return logits.new_empty(len(logits), dtype=torch.float32), logits.new_empty(len(logits), dtype=torch.int64)
