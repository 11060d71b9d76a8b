"""Error tolerances of the kernels, following flash-attention's tests.

The exact result is the reference in fp64. A kernel's error is limited relative to the error of plain PyTorch at the
kernel's own type.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
RELATIVE_RMS_LIMIT = {torch.float32: 1e-5, torch.float16: 0.005, torch.bfloat16: 0.005}
OUTPUT_FACTOR, GRADIENT_FACTOR = 2, 3
"""How many times plain PyTorch's largest error the kernel's may be."""

Function = Callable[..., torch.Tensor | tuple[torch.Tensor, ...]]


@dataclass(frozen=True)
class Accuracy:
    """Errors of one output or gradient: the largest, and the relative root mean square, each with its limit."""

    name: str
    error: float
    limit: float
    rms: float
    rms_limit: float

    @property
    def passed(self) -> bool:
        return self.error <= self.limit and self.rms <= self.rms_limit  # False for NaN


def compare(kernel: Function, reference: Function, inputs: Sequence[torch.Tensor]) -> list[Accuracy]:
    """Compare outputs and gradients of `kernel` and `reference`, both called with `inputs`."""
    ours = outputs_and_gradients(kernel, inputs)
    exact = outputs_and_gradients(reference, [x.double() if x.is_floating_point() else x for x in inputs])
    plain = outputs_and_gradients(reference, inputs)
    return [
        accuracy(x, truth, eager, inputs[0].dtype, factor, f"{name} {number}")
        for name, factor, *group in zip(
            ("output", "gradient"), (OUTPUT_FACTOR, GRADIENT_FACTOR), ours, exact, plain, strict=True
        )
        for number, (x, truth, eager) in enumerate(zip(*group, strict=True))
    ]


def accuracy(
    x: torch.Tensor, exact: torch.Tensor, plain: torch.Tensor, dtype: torch.dtype, factor: int, name: str
) -> Accuracy:
    """Accuracy of x, whose largest error may be `factor` times that of plain PyTorch.

    dtype: type of the inputs; the limits allow for its rounding. name: of the output or gradient, for messages.
    """
    if x.shape != exact.shape:
        raise ValueError(f"{name}: shape {tuple(x.shape)}, expected {tuple(exact.shape)}")
    rms_limit = RELATIVE_RMS_LIMIT[dtype]
    if not x.numel():
        return Accuracy(name, 0.0, 0.0, 0.0, rms_limit)
    error, plain_error = ((y.double() - exact).abs().max().item() for y in (x, plain))
    slack = factor * 1e-6 if dtype == torch.float32 else 0.3 * torch.finfo(dtype).eps
    limit = factor * plain_error + slack * max(exact.abs().max().item(), 1e-3)
    rms = (x.double() - exact).square().mean().sqrt() / exact.square().mean().sqrt().clamp_min(1e-3)
    return Accuracy(name, error, limit, rms.item(), rms_limit)


def outputs_and_gradients(
    function: Function, inputs: Sequence[torch.Tensor]
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Floating-point outputs, and the inputs' gradients of a fixed random projection of the differentiable outputs."""
    leaves = [x.detach().clone().requires_grad_() if x.is_floating_point() else x for x in inputs]
    results = function(*leaves)
    outputs = list(results) if isinstance(results, tuple) else [results]
    differentiable = [x for x in outputs if x.requires_grad]
    real_inputs = [x for x in leaves if x.requires_grad]
    gradients = torch.autograd.grad(differentiable, real_inputs, [random_cotangent(x) for x in differentiable])
    return [x.detach() for x in outputs if x.is_floating_point()], list(gradients)


def random_cotangent(x: torch.Tensor) -> torch.Tensor:
    """Random values of x's shape that bf16 can represent: the same for every type and device of x."""
    generator = torch.Generator().manual_seed(x.numel())
    return torch.randn(x.shape, generator=generator).bfloat16().to(x.device, x.dtype)
