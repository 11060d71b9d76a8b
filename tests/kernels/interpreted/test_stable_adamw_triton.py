"""The Triton kernels of StableAdamW against PyTorch's operators: 30 steps, with clipping at work."""

import pytest
import torch

from clinical_modernbert.kernels.stable_adamw import Rates, Segments, squared_updates, update_

BETAS, EPS, STEPS = (0.9, 0.98), 1e-6, 30
LAYOUTS = {
    "aligned": [(0, 4096), (4096, 9100), (9104, 9104), (9104, 9108)],
    "unaligned, with padding between": [(3, 2051), (2060, 2061), (2061, 7007)],
    "one": [(0, 5)],
}


def debiased(beta: float, step: int) -> float:
    return (beta**step - beta) / (beta**step - 1)


def train(bounds: list[tuple[int, int]], backend: str) -> list[torch.Tensor]:
    """Weights and moments after all steps, in tensors with 7 elements of padding at the end."""
    draw = torch.Generator().manual_seed(1)
    size = bounds[-1][1] + 7
    segments = Segments.of(bounds, torch.device("cpu"), backend=backend)
    assert (segments.blocks is None) == (backend == "torch")
    weight, mean, square = torch.randn(size, generator=draw), torch.zeros(size), torch.zeros(size)
    numel = torch.tensor([max(1, end - start) for start, end in bounds])
    for step in range(1, STEPS + 1):
        grad = torch.randn(size, generator=draw) * (100 if step % 7 == 0 else 0.01)
        rates = Rates(1 - debiased(BETAS[0], step), 1 - debiased(BETAS[1], step), EPS, decay=0.1)
        sums = squared_updates(grad, square, segments, rates)
        assert sums.dtype == torch.float64
        rms = (sums / numel).sqrt().float()
        assert step % 7 or step == 7 or rms.max() > 1
        update_(weight, grad, mean, square, segments, 1e-2 / rms.clamp_min(1.0), rates)
    return [weight, mean, square]


@pytest.mark.parametrize("name", LAYOUTS)
def test_kernels_equal_pytorchs_operators(name: str) -> None:
    for ours, plain in zip(train(LAYOUTS[name], "triton"), train(LAYOUTS[name], "torch"), strict=True):
        torch.testing.assert_close(ours, plain, rtol=4e-6, atol=1e-5)


def test_padding_is_not_changed() -> None:
    bounds = LAYOUTS["unaligned, with padding between"]
    draw = torch.Generator().manual_seed(1)
    size = bounds[-1][1] + 7
    start = [torch.randn(size, generator=draw), torch.zeros(size), torch.zeros(size)]
    padding = torch.ones(size, dtype=torch.bool)
    for first, end in bounds:
        padding[first:end] = False
    for before, after in zip(start, train(bounds, "triton"), strict=True):
        assert torch.equal(before[padding], after[padding])
        assert (before[~padding] != after[~padding]).all()
