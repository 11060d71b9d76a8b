"""How close a kernel must come, as flash-attention asks of itself.

The truth is the reference in fp64; the measure is the error that plain PyTorch makes at the kernel's own type.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
RELATIVE_RMS = {torch.float32: 1e-5, torch.float16: 0.005, torch.bfloat16: 0.005}
OUTPUT, GRADIENT = 2, 3
"""Times that the largest error may exceed plain PyTorch's."""

Function = Callable[..., torch.Tensor | tuple[torch.Tensor, ...]]


@dataclass(frozen=True)
class Accuracy:
    """Of one output or gradient: its largest error and its error's root mean square by its own, with their limits."""

    what: str
    error: float
    limit: float
    rms: float
    rms_limit: float

    @property
    def good(self) -> bool:
        return self.error <= self.limit and self.rms <= self.rms_limit  # a NaN is not


def compare(kernel: Function, reference: Function, inputs: Sequence[torch.Tensor]) -> list[Accuracy]:
    """Outputs and gradients of `kernel` against `reference`, which take the inputs, the real ones as leaves."""
    ours = outputs_and_gradients(kernel, inputs)
    truth = outputs_and_gradients(reference, [x.double() if x.is_floating_point() else x for x in inputs])
    plain = outputs_and_gradients(reference, inputs)
    return [
        accuracy(x, exact, eager, inputs[0].dtype, factor, f"{name} {number}")
        for name, factor, *group in zip(("output", "gradient"), (OUTPUT, GRADIENT), ours, truth, plain, strict=True)
        for number, (x, exact, eager) in enumerate(zip(*group, strict=True))
    ]


def accuracy(
    x: torch.Tensor, exact: torch.Tensor, plain: torch.Tensor, dtype: torch.dtype, factor: int, what: str
) -> Accuracy:
    """Of x, which may err `factor` times as much as plain PyTorch. dtype: of the inputs, whose rounding is forgiven."""
    if x.shape != exact.shape:
        raise ValueError(f"{what}: shape {tuple(x.shape)}, expected {tuple(exact.shape)}")
    rms_limit = RELATIVE_RMS[dtype]
    if not x.numel():
        return Accuracy(what, 0.0, 0.0, 0.0, rms_limit)
    error, plain_error = ((y.double() - exact).abs().max().item() for y in (x, plain))
    slack = factor * 1e-6 if dtype == torch.float32 else 0.3 * torch.finfo(dtype).eps
    limit = factor * plain_error + slack * max(exact.abs().max().item(), 1e-3)
    rms = (x.double() - exact).square().mean().sqrt() / exact.square().mean().sqrt().clamp_min(1e-3)
    return Accuracy(what, error, limit, rms.item(), rms_limit)


def outputs_and_gradients(
    function: Function, inputs: Sequence[torch.Tensor]
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Floating-point outputs, and gradients of a random, repeatable projection of all differentiable ones."""
    leaves = [x.detach().clone().requires_grad_() if x.is_floating_point() else x for x in inputs]
    results = function(*leaves)
    outputs = list(results) if isinstance(results, tuple) else [results]
    differentiable = [x for x in outputs if x.requires_grad]
    wanted = [x for x in leaves if x.requires_grad]
    gradients = torch.autograd.grad(differentiable, wanted, [direction(x) for x in differentiable])
    return [x.detach() for x in outputs if x.is_floating_point()], list(gradients)


def direction(x: torch.Tensor) -> torch.Tensor:
    """Random values on bf16's grid, the same whatever the type and the device of x."""
    generator = torch.Generator().manual_seed(x.numel())
    return torch.randn(x.shape, generator=generator).bfloat16().to(x.device, x.dtype)
