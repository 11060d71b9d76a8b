"""StableAdamW on flat tensors as Triton kernels: three launches per step. Partial sums are added in a fixed order."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import triton
import triton.language as tl

from .launch import launch
from .stable_adamw import Rates

BLOCK = 2048
SUMMED = 1024
"""Partial sums that one program adds at a time."""


@dataclass(frozen=True)
class Blocks:
    """Segments cut into blocks, on the tensors' device.

    Attributes:
        table: int32 or int64 (n, 3), start and end of each block and its segment.
        first: int32 (segments + 1,), the first block of each segment.
        aligned: all bounds are multiples of four, so that 128 bits can be loaded at a time.
    """

    table: torch.Tensor
    first: torch.Tensor
    aligned: bool

    @classmethod
    def of(cls, bounds: Sequence[tuple[int, int]], device: torch.device) -> "Blocks":
        table, first = [], [0]
        for segment, (start, end) in enumerate(bounds):
            table += [(at, min(at + BLOCK, end), segment) for at in range(start, end, BLOCK)]
            first.append(len(table))
        largest = max((end for _, end in bounds), default=0)
        kind = torch.int32 if largest + BLOCK < 2**31 else torch.int64
        return cls(
            torch.tensor(table, dtype=kind, device=device).reshape(-1, 3),
            torch.tensor(first, dtype=torch.int32, device=device),
            all(start % 4 == 0 and end % 4 == 0 for start, end in bounds),
        )


@triton.jit
def _block(TABLE, ALIGNED: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    entry = TABLE + tl.program_id(0).to(tl.int64) * 3
    start, end, segment = tl.load(entry), tl.load(entry + 1), tl.load(entry + 2)
    if ALIGNED:
        start, end = tl.multiple_of(start, 4), tl.multiple_of(end, 4)
    index = start + tl.arange(0, BLOCK)
    return index, index < end, segment


@triton.jit
def _lerp(old, new, weight):  # type: ignore[no-untyped-def]
    """old + weight (new - old) as torch.lerp rounds it, which has another form for a weight of at least 0.5.

    Weights are that large in the first two steps of a run: a constant would compile other variants for them.
    """
    return tl.where(weight < 0.5, old + weight * (new - old), new - (new - old) * (1.0 - weight))


@triton.jit(do_not_specialize=["square_weight", "eps"])
def squared_updates(  # type: ignore[no-untyped-def]
    PARTIAL, GRAD, EXP_AVG_SQ, TABLE, square_weight, eps,
    ALIGNED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """PARTIAL[block] = the block's sum of g^2 / max(v, eps^2), with v the new second moment, which is not stored."""
    index, mask, _ = _block(TABLE, ALIGNED, BLOCK)
    grad = tl.load(GRAD + index, mask=mask, other=0.0)
    square = grad * grad
    moment = _lerp(tl.load(EXP_AVG_SQ + index, mask=mask, other=0.0), square, square_weight)
    tl.store(PARTIAL + tl.program_id(0), tl.sum(tl.where(mask, square / tl.maximum(moment, eps * eps), 0.0), 0))


@triton.jit
def segment_sums(SUMS, PARTIAL, FIRST, SUMMED: tl.constexpr):  # type: ignore[no-untyped-def]
    """SUMS[segment] = the sum of its blocks' partial sums, in fp64."""
    segment = tl.program_id(0)
    begin, end = tl.load(FIRST + segment), tl.load(FIRST + segment + 1)
    total = tl.zeros([SUMMED], tl.float64)
    for at in range(begin, end, SUMMED):
        index = at + tl.arange(0, SUMMED)
        total += tl.load(PARTIAL + index, mask=index < end, other=0.0).to(tl.float64)
    tl.store(SUMS + segment, tl.sum(total, 0))


@triton.jit(do_not_specialize=["mean_weight", "square_weight", "eps", "decay"])
def stable_adamw(  # type: ignore[no-untyped-def]
    GRAD, EXP_AVG, EXP_AVG_SQ, WEIGHT, TABLE, LEARNING_RATES, mean_weight, square_weight, eps, decay,
    ALIGNED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Update EXP_AVG, EXP_AVG_SQ and WEIGHT in place, each segment at its own learning rate."""
    index, mask, segment = _block(TABLE, ALIGNED, BLOCK)
    rate = tl.load(LEARNING_RATES + segment)
    grad = tl.load(GRAD + index, mask=mask, other=0.0)
    mean = _lerp(tl.load(EXP_AVG + index, mask=mask, other=0.0), grad, mean_weight)
    square = _lerp(tl.load(EXP_AVG_SQ + index, mask=mask, other=0.0), grad * grad, square_weight)
    weight = tl.load(WEIGHT + index, mask=mask, other=0.0)
    weight = weight * (1.0 - rate * decay) - rate * mean / (tl.sqrt(square) + eps)
    tl.store(EXP_AVG + index, mean, mask=mask)
    tl.store(EXP_AVG_SQ + index, square, mask=mask)
    tl.store(WEIGHT + index, weight, mask=mask)


def triton_squared_updates(grad: torch.Tensor, exp_avg_sq: torch.Tensor, blocks: Blocks, rates: Rates) -> torch.Tensor:
    """As `stable_adamw.squared_updates`."""
    partial_sums = grad.new_empty(len(blocks.table))
    sums = grad.new_empty(len(blocks.first) - 1, dtype=torch.float64)
    launch(
        squared_updates, (len(blocks.table),),
        partial_sums, grad, exp_avg_sq, blocks.table, rates.square, rates.eps,
        ALIGNED=blocks.aligned, BLOCK=BLOCK,
    )  # fmt: skip
    launch(segment_sums, (len(sums),), sums, partial_sums, blocks.first, SUMMED=SUMMED)
    return sums


def triton_update_(
    weight: torch.Tensor,
    grad: torch.Tensor,
    exp_avg: torch.Tensor,
    exp_avg_sq: torch.Tensor,
    blocks: Blocks,
    learning_rates: torch.Tensor,
    rates: Rates,
) -> None:
    """As `stable_adamw.update_`."""
    launch(
        stable_adamw, (len(blocks.table),),
        grad, exp_avg, exp_avg_sq, weight, blocks.table, learning_rates,
        rates.mean, rates.square, rates.eps, rates.decay,
        ALIGNED=blocks.aligned, BLOCK=BLOCK,
    )  # fmt: skip
