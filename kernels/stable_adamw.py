"""One step of StableAdamW on a flat fp32 tensor of many parameters, in two passes over memory.

The step divides the learning rate of each parameter by the root mean square of its update, which is known only when all
of the parameter has been read, on all ranks. So a first pass sums, and a second one changes weights and moments. The
first does not store the new second moment that it computes: to compute it again costs no memory traffic. Together the
passes read and write 36 bytes per element, where separate operators need about 200.

On a CPU a pass takes pieces that stay in the cache; on a GPU it is one kernel.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from .devices import use_triton

if TYPE_CHECKING:
    from .stable_adamw_triton import Blocks

PIECE = 1 << 15
"""Elements per thread of a CPU. Six tensors of a piece are read or written at a time."""


@dataclass(frozen=True)
class Segments:
    """Where the parameters lie in a flat tensor. Elements in no segment are padding, and are never changed.

    Attributes:
        bounds: (start, end) of each segment, in order.
        blocks: the segments as the kernels visit them; None if PyTorch's operators do.
    """

    bounds: tuple[tuple[int, int], ...]
    blocks: "Blocks | None"

    @classmethod
    def of(cls, bounds: Sequence[tuple[int, int]], device: torch.device, *, backend: str = "auto") -> "Segments":
        """Backends: auto, triton, torch."""
        if not use_triton(backend, device):
            return cls(tuple(bounds), None)
        from .stable_adamw_triton import Blocks

        return cls(tuple(bounds), Blocks.of(bounds, device))


@dataclass(frozen=True)
class Rates:
    """The numbers of a step that all its elements share.

    Attributes:
        mean, square: weights of the new gradient and of its square in the moments, in [0, 1].
        eps: added to the root of the second moment.
        decay: weight decay as a multiple of the learning rate.
    """

    mean: float
    square: float
    eps: float
    decay: float


def squared_updates(grad: torch.Tensor, exp_avg_sq: torch.Tensor, segments: Segments, rates: Rates) -> torch.Tensor:
    """The sum over each segment of g^2 / max(v, eps^2), fp64 (segments,), with v the NEW second moment.

    Args:
        grad, exp_avg_sq: fp32 (n,), contiguous; the second moment is the one before the step.
    """
    if segments.blocks is not None:
        from .stable_adamw_triton import triton_squared_updates

        return triton_squared_updates(grad, exp_avg_sq, segments.blocks, rates)
    squares, moments = _scratch(grad), _scratch(grad)
    sums = [0.0] * len(segments.bounds)
    for segment, piece in _pieces(segments):
        square, moment = squares[: piece.stop - piece.start], moments[: piece.stop - piece.start]
        torch.mul(grad[piece], grad[piece], out=square)
        torch.lerp(exp_avg_sq[piece], square, rates.square, out=moment)
        sums[segment] += square.div_(moment.clamp_min_(rates.eps**2)).sum(dtype=torch.float64).item()
    return torch.tensor(sums, dtype=torch.float64)


def update_(
    weight: torch.Tensor,
    grad: torch.Tensor,
    exp_avg: torch.Tensor,
    exp_avg_sq: torch.Tensor,
    segments: Segments,
    learning_rates: torch.Tensor,
    rates: Rates,
) -> None:
    """Change weights and moments in place.

    Args:
        weight, grad, exp_avg, exp_avg_sq: fp32 (n,), contiguous.
        learning_rates: fp32 (segments,).
    """
    if segments.blocks is not None:
        from .stable_adamw_triton import triton_update_

        triton_update_(weight, grad, exp_avg, exp_avg_sq, segments.blocks, learning_rates, rates)
        return
    scratch, rate = _scratch(grad), learning_rates.tolist()
    for segment, piece in _pieces(segments):
        here, mean, square, w = grad[piece], exp_avg[piece], exp_avg_sq[piece], weight[piece]
        temporary = scratch[: piece.stop - piece.start]
        mean.lerp_(here, rates.mean)
        square.lerp_(torch.mul(here, here, out=temporary), rates.square)
        torch.sqrt(square, out=temporary).add_(rates.eps)
        w.mul_(1 - rate[segment] * rates.decay).addcdiv_(mean, temporary, value=-rate[segment])


def _pieces(segments: Segments) -> Iterator[tuple[int, slice]]:
    """(index of the segment, a part of it), in order."""
    size = PIECE * torch.get_num_threads()
    for segment, (start, end) in enumerate(segments.bounds):
        for first in range(start, end, size):
            yield segment, slice(first, min(first + size, end))


def _scratch(like: torch.Tensor) -> torch.Tensor:
    return like.new_empty(min(like.numel(), PIECE * torch.get_num_threads()))
