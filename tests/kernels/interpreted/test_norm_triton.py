"""The Triton kernels of layer norm, alone and fused with the residual sum."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from kernel_accuracy import check

from clinical_modernbert.kernels.norm import add_layer_norm, layer_norm
from clinical_modernbert.kernels.verify import reference
from clinical_modernbert.kernels.verify.accuracy import DTYPES

EPS = 1e-5


def ours_norm(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return layer_norm(x, weight, EPS, backend="triton")


def plain_norm(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return reference.add_layer_norm(torch.zeros_like(x), x, weight, EPS)[1]


def ours_add_norm(residual: torch.Tensor, x: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return add_layer_norm(residual, x, weight, EPS, backend="triton")


def plain_add_norm(residual: torch.Tensor, x: torch.Tensor, weight: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return reference.add_layer_norm(residual, x, weight, EPS)


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES.keys())
@pytest.mark.parametrize("width", [768, 1024])
def test_accuracy(width: int, dtype: torch.dtype) -> None:
    inputs = [torch.randn(33, width), torch.randn(33, width), torch.rand(width) + 0.5]
    check(ours_add_norm, plain_add_norm, [x.to(dtype) for x in inputs])


@given(rows=st.integers(0, 40), width=st.integers(1, 300), dtype=st.sampled_from(list(DTYPES.values())))
def test_any_shape(rows: int, width: int, dtype: torch.dtype) -> None:
    width += 7  # the variance of very few values amplifies any error
    residual, x, weight = (t.to(dtype) for t in (*torch.randn(2, rows, width), torch.rand(width) + 0.5))
    check(ours_norm, plain_norm, [x, weight])
    check(ours_add_norm, plain_add_norm, [residual, x, weight])


def test_strided_rows_in_a_buffer_of_nan() -> None:
    buffer = torch.full((20, 60), float("nan"))
    buffer[5:15, :48] = torch.randn(10, 48)
    weight = torch.rand(48)
    assert torch.equal(ours_norm(buffer[5:15, :48], weight), ours_norm(buffer[5:15, :48].contiguous(), weight))


def test_gradients_if_only_one_output_is_used() -> None:
    residual, x, weight = torch.randn(9, 48), torch.randn(9, 48), torch.rand(48)
    for number in (0, 1):
        leaves = [t.clone().requires_grad_() for t in (residual, x)]
        ours_add_norm(leaves[0], leaves[1], weight)[number].square().sum().backward()
        others = [t.clone().requires_grad_() for t in (residual, x)]
        plain_add_norm(others[0], others[1], weight)[number].square().sum().backward()
        for leaf, other in zip(leaves, others, strict=True):
            torch.testing.assert_close(leaf.grad, other.grad, rtol=1e-4, atol=1e-5)
