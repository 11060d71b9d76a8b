"""How close a kernel must come, as flash-attention asks of itself.

The truth is the reference in fp64; the measure is the error that plain PyTorch makes at the kernel's own type.
"""

from collections.abc import Callable, Sequence

import torch

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
RELATIVE_RMS = {torch.float32: 1e-5, torch.float16: 0.005, torch.bfloat16: 0.005}

Function = Callable[..., torch.Tensor | tuple[torch.Tensor, ...]]


def check(kernel: Function, reference: Function, inputs: Sequence[torch.Tensor]) -> None:
    """Outputs and gradients of `kernel` against `reference`, called with the floating-point inputs as they are, as
    leaves. Outputs may err twice as much as plain PyTorch, gradients three times."""
    ours = outputs_and_gradients(kernel, inputs)
    truth = outputs_and_gradients(reference, [x.double() if x.is_floating_point() else x for x in inputs])
    plain = outputs_and_gradients(reference, inputs)
    for factor, *group in zip((2, 3), ours, truth, plain, strict=True):
        for number, (x, exact, eager) in enumerate(zip(*group, strict=True)):
            assert x.shape == exact.shape
            assert_close(x, exact, eager, factor, f"{'output' if factor == 2 else 'gradient'} {number}")


def assert_close(x: torch.Tensor, exact: torch.Tensor, eager: torch.Tensor, factor: int, what: str) -> None:
    if not x.numel():
        return
    dtype = x.dtype
    error, allowed = (x.double() - exact).abs().max(), (eager.double() - exact).abs().max()
    slack = factor * 1e-6 if dtype == torch.float32 else 0.3 * torch.finfo(dtype).eps
    scale = exact.abs().max().clamp_min(1e-3)
    assert error <= factor * allowed + slack * scale, f"{what}: off by {error:.2e}, plain PyTorch by {allowed:.2e}"
    rms = (x.double() - exact).square().mean().sqrt() / exact.square().mean().sqrt().clamp_min(1e-3)
    assert rms <= RELATIVE_RMS[dtype], f"{what}: relative RMS error {rms:.2e}"


def outputs_and_gradients(function: Function, inputs: Sequence[torch.Tensor]) -> tuple[list, list]:
    """Gradients of a random, repeatable projection of all differentiable outputs."""
    leaves = [x.detach().clone().requires_grad_() if x.is_floating_point() else x for x in inputs]
    outputs = function(*leaves)
    outputs = list(outputs) if isinstance(outputs, tuple) else [outputs]
    differentiable = [x for x in outputs if x.requires_grad]
    directions = [direction(x) for x in differentiable]
    wanted = [x for x in leaves if x.requires_grad]
    gradients = torch.autograd.grad(differentiable, wanted, directions)
    return [x.detach() for x in outputs if x.is_floating_point()], list(gradients)


def direction(x: torch.Tensor) -> torch.Tensor:
    """The same random values, on bf16's grid, whatever the type of x."""
    generator = torch.Generator().manual_seed(x.numel())
    return torch.randn(x.shape, generator=generator).bfloat16().to(x.dtype)
