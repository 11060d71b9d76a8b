"""The MLM loss with the Triton cross-entropy."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clinical_modernbert.kernels.mlm_loss import mlm_loss
from clinical_modernbert.kernels.verify import reference
from clinical_modernbert.kernels.verify.accuracy import DTYPES, GRADIENT_FACTOR, accuracy, outputs_and_gradients


def random_inputs(rows: int, vocabulary: int, width: int, dtype: torch.dtype) -> list[torch.Tensor]:
    weight = torch.randn(vocabulary, width) / width**0.5
    targets = torch.randint(0, vocabulary, (rows,))
    targets[3::7] = -100
    return [torch.randn(rows, width).to(dtype), weight.to(dtype), torch.randn(vocabulary).to(dtype), targets]


def loss_gradients(
    function: Callable[..., tuple[torch.Tensor, torch.Tensor]],
    inputs: list[torch.Tensor],
    dtype: torch.dtype,
    **options: str,
) -> list[torch.Tensor]:
    *leaves, targets = inputs
    return outputs_and_gradients(lambda *x: function(*x, targets, **options), [x.to(dtype) for x in leaves])[1]


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES.keys())
@pytest.mark.parametrize("vocabulary", [50_368, 4096, 4097, 5])
def test_accuracy(vocabulary: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    inputs = random_inputs(11, vocabulary, 32, dtype)
    ours, plain = (mlm_loss(*inputs, backend=backend) for backend in ("triton", "torch"))
    torch.testing.assert_close(ours[0], plain[0], rtol=2e-6, atol=1e-5)
    assert torch.equal(ours[1], plain[1])
    gradients = (
        loss_gradients(mlm_loss, inputs, dtype, backend="triton"),
        loss_gradients(reference.mlm_loss, inputs, torch.float64),
        loss_gradients(reference.mlm_loss, inputs, dtype),
    )
    for number, group in enumerate(zip(*gradients, strict=True)):
        assert (result := accuracy(*group, dtype, GRADIENT_FACTOR, f"gradient {number}")).passed, result


@given(rows=st.integers(0, 12), vocabulary=st.integers(2, 9000), dtype=st.sampled_from(list(DTYPES.values())))
def test_any_shape(rows: int, vocabulary: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    inputs = random_inputs(rows, vocabulary, 16, dtype)
    results = []
    for backend in ("triton", "torch"):
        hidden, weight, bias = leaves = [x.clone().requires_grad_() for x in inputs[:3]]
        loss, correct = mlm_loss(hidden, weight, bias, inputs[3], backend=backend)
        loss.backward()
        results.append([loss.detach(), correct, *(x.grad for x in leaves)])
    slack = 2e-6 if dtype == torch.float32 else 2 * torch.finfo(dtype).eps
    torch.testing.assert_close(results[0], results[1], rtol=slack, atol=slack)


def test_ties_and_targets_outside_the_vocabulary() -> None:
    hidden, weight, bias = torch.ones(2, 4), torch.zeros(6, 4), torch.tensor([0.0, 1, 0, 1, 0, 0])
    assert mlm_loss(hidden, weight, bias, torch.tensor([1, 3]), backend="triton")[1].tolist() == [True, False]
    assert mlm_loss(hidden, weight, bias, torch.tensor([1, 6]), backend="triton")[0].isnan()
