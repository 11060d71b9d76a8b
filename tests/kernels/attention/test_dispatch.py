"""The torch backend, which every machine has."""

import pytest
import torch

from clinical_modernbert.kernels.attention.dispatch import packed_attention
from clinical_modernbert.kernels.packed import PackedBatch
from clinical_modernbert.kernels.verify import reference

LENGTHS = {
    "mixed": [5, 0, 1, 300, 129, 64],
    "all empty": [0, 0],
    "no sequence": [],
    "one token": [1],
    "all ones": [1] * 20,
    "chunk borders": [127, 128, 129, 255, 256, 257],
    "300 tiny": [i % 9 for i in range(300)],
    "one long": [700],
}


def gradients(qkv: torch.Tensor, grad: torch.Tensor, lengths: list[int], window: int | None) -> list[torch.Tensor]:
    leaf = qkv.clone().requires_grad_()
    batch = PackedBatch.from_lengths(lengths, "cpu")
    out = packed_attention(leaf, batch, window=window, rope_theta=160_000.0, backend="torch")
    return [out.detach(), *torch.autograd.grad(out, leaf, grad)]


def expected(qkv: torch.Tensor, grad: torch.Tensor, lengths: list[int], window: int | None) -> list[torch.Tensor]:
    leaf = qkv.clone().requires_grad_()
    out = reference.attention(leaf, lengths, window, 160_000.0)
    return [out.detach(), *torch.autograd.grad(out, leaf, grad)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("window", [None, 0, 1, 16, 64, 1000])
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS.keys())
def test_agrees_with_dense_fp64(lengths: list[int], window: int | None, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    total = sum(lengths)
    qkv, grad = torch.randn(total, 3, 2, 32).to(dtype), torch.randn(total, 2, 32).to(dtype)
    ours = gradients(qkv, grad, lengths, window)
    truth = expected(qkv.double(), grad.double(), lengths, window)
    plain = expected(qkv, grad, lengths, window)
    for x, exact, eager, factor in zip(ours, truth, plain, (2, 3), strict=True):
        assert x.dtype == dtype
        if total:
            scale = exact.abs().max()
            slack = factor * 1e-6 if dtype == torch.float32 else 0.3 * torch.finfo(dtype).eps
            assert (x - exact).abs().max() <= factor * (eager - exact).abs().max() + slack * scale


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), 3e38, -7.0])
@pytest.mark.parametrize("window", [None, 16])
def test_a_sequence_never_sees_another(window: int | None, poison: float) -> None:
    torch.manual_seed(0)
    lengths = [40, 300, 3, 200]
    qkv, grad = torch.randn(543, 3, 2, 32), torch.randn(543, 2, 32)
    spoiled = qkv.clone()
    spoiled[40:340] = poison
    for x, y in zip(gradients(qkv, grad, lengths, window), gradients(spoiled, grad, lengths, window), strict=True):
        assert torch.equal(x[:40], y[:40])
        assert torch.equal(x[340:], y[340:])


def test_backward_is_deterministic() -> None:
    torch.manual_seed(0)
    qkv, grad = torch.randn(500, 3, 2, 32), torch.randn(500, 2, 32)
    first, second = (gradients(qkv, grad, [400, 100], 64) for _ in range(2))
    assert all(torch.equal(x, y) for x, y in zip(first, second, strict=True))


@pytest.mark.parametrize(
    ("shape", "window", "message"),
    [
        ((4, 2, 2, 32), None, r"qkv must be \(T, 3, H, D\)"),
        ((5, 3, 2, 32), None, "qkv holds 5 tokens but the batch 4"),
        ((4, 3, 2, 32), -1, "window must be None or at least 0"),
    ],
)
def test_bad_arguments_are_refused(shape: tuple[int, ...], window: int | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        packed_attention(torch.zeros(shape), PackedBatch.from_lengths([4], "cpu"), window=window, rope_theta=1e4)
