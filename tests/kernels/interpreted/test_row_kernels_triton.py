"""GeGLU, layer norm and the MLM loss: kernels in which rows do not meet."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from kernel_accuracy import check

from clinical_modernbert.kernels.geglu import geglu
from clinical_modernbert.kernels.mlm_loss import mlm_loss
from clinical_modernbert.kernels.norm import add_layer_norm, layer_norm
from clinical_modernbert.kernels.verify import reference
from clinical_modernbert.kernels.verify.accuracy import DTYPES, GRADIENT, accuracy, outputs_and_gradients

EPS = 1e-5
dtypes = pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES.keys())
shapes = {"rows": st.integers(0, 40), "width": st.integers(1, 300), "dtype": st.sampled_from(list(DTYPES.values()))}


def ours_norm(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return layer_norm(x, weight, EPS, backend="triton")


def plain_norm(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return reference.add_layer_norm(torch.zeros_like(x), x, weight, EPS)[1]


def ours_add_norm(residual: torch.Tensor, x: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return add_layer_norm(residual, x, weight, EPS, backend="triton")


def plain_add_norm(residual: torch.Tensor, x: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return reference.add_layer_norm(residual, x, weight, EPS)


@dtypes
@pytest.mark.parametrize("width", [1152, 2624, 128])
def test_geglu(width: int, dtype: torch.dtype) -> None:
    check(lambda x: geglu(x, backend="triton"), reference.geglu, [torch.randn(17, 2 * width).to(dtype)])


@given(**shapes)
def test_geglu_of_any_shape(rows: int, width: int, dtype: torch.dtype) -> None:
    check(lambda x: geglu(x, backend="triton"), reference.geglu, [torch.randn(rows, 2 * width).to(dtype)])


@dtypes
@pytest.mark.parametrize("width", [768, 1024])
def test_add_layer_norm(width: int, dtype: torch.dtype) -> None:
    inputs = [torch.randn(33, width), torch.randn(33, width), torch.rand(width) + 0.5]
    check(ours_add_norm, plain_add_norm, [x.to(dtype) for x in inputs])


@given(**shapes)
def test_norms_of_any_shape(rows: int, width: int, dtype: torch.dtype) -> None:
    width += 7  # the variance of very few values amplifies any error
    residual, x, weight = (t.to(dtype) for t in (*torch.randn(2, rows, width), torch.rand(width) + 0.5))
    check(ours_norm, plain_norm, [x, weight])
    check(ours_add_norm, plain_add_norm, [residual, x, weight])


def test_norm_of_strided_rows_in_a_poisoned_buffer() -> None:
    buffer = torch.full((20, 60), float("nan"))
    buffer[5:15, :48] = torch.randn(10, 48)
    weight = torch.rand(48)
    assert torch.equal(ours_norm(buffer[5:15, :48], weight), ours_norm(buffer[5:15, :48].contiguous(), weight))


def test_only_one_output_of_the_norm_is_used() -> None:
    residual, x, weight = torch.randn(9, 48), torch.randn(9, 48), torch.rand(48)
    for number in (0, 1):
        leaves = [t.clone().requires_grad_() for t in (residual, x)]
        ours_add_norm(*leaves, weight)[number].square().sum().backward()
        others = [t.clone().requires_grad_() for t in (residual, x)]
        plain_add_norm(*others, weight)[number].square().sum().backward()
        for leaf, other in zip(leaves, others, strict=True):
            torch.testing.assert_close(leaf.grad, other.grad, rtol=1e-4, atol=1e-5)


def problem(rows: int, vocabulary: int, width: int, dtype: torch.dtype) -> list[torch.Tensor]:
    weight = torch.randn(vocabulary, width) / width**0.5
    targets = torch.randint(0, vocabulary, (rows,))
    targets[3::7] = -100
    return [torch.randn(rows, width).to(dtype), weight.to(dtype), torch.randn(vocabulary).to(dtype), targets]


def loss_gradients(function, inputs: list[torch.Tensor], dtype: torch.dtype, **options: str) -> list[torch.Tensor]:
    *leaves, targets = inputs
    return outputs_and_gradients(lambda *x: function(*x, targets, **options), [x.to(dtype) for x in leaves])[1]


@dtypes
@pytest.mark.parametrize("vocabulary", [50_368, 4096, 4097, 5])
def test_mlm_loss(vocabulary: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    inputs = problem(11, vocabulary, 32, dtype)
    ours, torchs = (mlm_loss(*inputs, backend=backend) for backend in ("triton", "torch"))
    torch.testing.assert_close(ours[0], torchs[0], rtol=2e-6, atol=1e-5)
    assert torch.equal(ours[1], torchs[1])
    gradients = (
        loss_gradients(mlm_loss, inputs, dtype, backend="triton"),
        loss_gradients(reference.mlm_loss, inputs, torch.float64),
        loss_gradients(reference.mlm_loss, inputs, dtype),
    )
    for number, group in enumerate(zip(*gradients, strict=True)):
        assert (found := accuracy(*group, dtype, GRADIENT, f"gradient {number}")).good, found


@given(rows=st.integers(0, 12), vocabulary=st.integers(2, 9000), dtype=st.sampled_from(list(DTYPES.values())))
def test_mlm_loss_of_any_shape(rows: int, vocabulary: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    inputs = problem(rows, vocabulary, 16, dtype)
    gradients = []
    for backend in ("triton", "torch"):
        leaves = [x.clone().requires_grad_() for x in inputs[:3]]
        loss, right = mlm_loss(*leaves, inputs[3], backend=backend)
        loss.backward()
        gradients.append([loss.detach(), right, *(x.grad for x in leaves)])
    slack = 2e-6 if dtype == torch.float32 else 2 * torch.finfo(dtype).eps
    torch.testing.assert_close(gradients[0], gradients[1], rtol=slack, atol=slack)


def test_ties_and_impossible_targets() -> None:
    hidden, weight, bias = torch.ones(2, 4), torch.zeros(6, 4), torch.tensor([0.0, 1, 0, 1, 0, 0])
    assert mlm_loss(hidden, weight, bias, torch.tensor([1, 3]), backend="triton")[1].tolist() == [True, False]
    assert mlm_loss(hidden, weight, bias, torch.tensor([1, 6]), backend="triton")[0].isnan()
