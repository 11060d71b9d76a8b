"""The torch backend of attention, which every machine supports."""

import pytest
import torch

from clinical_modernbert.kernels.attention.dispatch import packed_attention
from clinical_modernbert.kernels.packed import PackedBatch
from clinical_modernbert.kernels.verify import reference

LENGTHS = {
    "mixed": [5, 0, 1, 300, 129, 64],
    "one token": [1],
    "all ones": [1] * 20,
    "chunk borders": [127, 128, 129, 255, 256, 257],
    "300 tiny": [i % 9 for i in range(300)],
    "one long": [700],
}
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
windows = pytest.mark.parametrize("window", [None, 0, 1, 16, 64, 1000])


def output_and_gradient(
    qkv: torch.Tensor, grad: torch.Tensor, lengths: list[int], window: int | None, causal: bool = False
) -> list[torch.Tensor]:
    leaf = qkv.clone().requires_grad_()
    batch = PackedBatch.from_lengths(lengths, "cpu")
    out = packed_attention(leaf, batch, window=window, rope_theta=160_000.0, causal=causal, backend="torch")
    return [out.detach(), *torch.autograd.grad(out, leaf, grad)]


def expected(
    qkv: torch.Tensor, grad: torch.Tensor, lengths: list[int], window: int | None, causal: bool = False
) -> list[torch.Tensor]:
    leaf = qkv.clone().requires_grad_()
    out = reference.attention(leaf, lengths, window, 160_000.0, causal)
    return [out.detach(), *torch.autograd.grad(out, leaf, grad)]


@dtypes
@windows
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS.keys())
def test_agrees_with_dense_fp64(lengths: list[int], window: int | None, dtype: torch.dtype) -> None:
    for causal in (False, True):
        check_against_dense(lengths, window, causal, dtype)


def check_against_dense(lengths: list[int], window: int | None, causal: bool, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    total = sum(lengths)
    qkv, grad = torch.randn(total, 3, 2, 32).to(dtype), torch.randn(total, 2, 32).to(dtype)
    ours = output_and_gradient(qkv, grad, lengths, window, causal)
    exact = expected(qkv.double(), grad.double(), lengths, window, causal)
    plain = expected(qkv, grad, lengths, window, causal)
    for x, truth, eager, factor in zip(ours, exact, plain, (2, 3), strict=True):
        assert x.dtype == dtype
        slack = factor * 1e-6 if dtype == torch.float32 else 0.3 * torch.finfo(dtype).eps
        assert (x - truth).abs().max() <= factor * (eager - truth).abs().max() + slack * truth.abs().max()


# No tokens, no largest error: these are not among LENGTHS, and only shapes and types can be checked.
@dtypes
@windows
@pytest.mark.parametrize("lengths", [[0, 0], []], ids=["all empty", "no sequence"])
def test_without_tokens_output_and_gradient_are_empty(
    lengths: list[int], window: int | None, dtype: torch.dtype
) -> None:
    qkv, grad = torch.zeros(0, 3, 2, 32, dtype=dtype), torch.zeros(0, 2, 32, dtype=dtype)
    out, gradient = output_and_gradient(qkv, grad, lengths, window)
    assert (out.shape, out.dtype) == ((0, 2, 32), dtype)
    assert (gradient.shape, gradient.dtype) == ((0, 3, 2, 32), dtype)


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), 3e38, -7.0])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("window", [None, 16])
def test_a_sequence_does_not_affect_the_others(window: int | None, causal: bool, poison: float) -> None:
    torch.manual_seed(0)
    lengths = [40, 300, 3, 200]
    qkv, grad = torch.randn(543, 3, 2, 32), torch.randn(543, 2, 32)
    poisoned = qkv.clone()
    poisoned[40:340] = poison
    clean_results = output_and_gradient(qkv, grad, lengths, window, causal)
    for x, y in zip(clean_results, output_and_gradient(poisoned, grad, lengths, window, causal), strict=True):
        assert torch.equal(x[:40], y[:40])
        assert torch.equal(x[340:], y[340:])


@dtypes
@pytest.mark.parametrize("window", [None, 0, 16, 64, 1000])
def test_nothing_leaks_from_later_tokens(window: int | None, dtype: torch.dtype) -> None:
    """What one token holds changes no output before it, and what one output is worth no gradient after it."""
    torch.manual_seed(0)
    lengths = [7, 300, 150, 66]  # SDPA's own causal mask, bands, and a dense mask
    qkv, grad = torch.randn(523, 3, 2, 32).to(dtype), torch.randn(523, 2, 32).to(dtype)
    out, gradient = output_and_gradient(qkv, grad, lengths, window, True)
    for start, length in ((0, 7), (7, 300), (307, 150), (457, 66)):
        at = start + length // 2
        changed, other = qkv.clone(), grad.clone()
        changed[at] += 3.0
        other[at] -= 3.0
        moved = (output_and_gradient(changed, grad, lengths, window, True)[0] != out).flatten(1).any(1).nonzero()
        reach = min(length - length // 2 - 1, length if window is None else window)
        assert moved.min() == at
        assert moved.max() == at + reach
        moved = (output_and_gradient(qkv, other, lengths, window, True)[1] != gradient).flatten(1).any(1).nonzero()
        assert moved.max() == at
        assert moved.min() >= start


def test_backward_is_deterministic() -> None:
    torch.manual_seed(0)
    qkv, grad = torch.randn(500, 3, 2, 32), torch.randn(500, 2, 32)
    first, second = (output_and_gradient(qkv, grad, [400, 100], 64) for _ in range(2))
    assert all(torch.equal(x, y) for x, y in zip(first, second, strict=True))
