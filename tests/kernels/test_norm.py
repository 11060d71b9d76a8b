"""Layer norm in plain PyTorch against its definition."""

from collections.abc import Callable

import pytest
import torch
from kernel_accuracy import check

from clinical_modernbert.kernels.norm import add_layer_norm, layer_norm
from clinical_modernbert.kernels.verify import reference
from clinical_modernbert.kernels.verify.accuracy import DTYPES


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES.keys())
def test_accuracy(dtype: torch.dtype) -> None:
    inputs = [torch.randn(17, 96).to(dtype), torch.randn(17, 96).to(dtype), torch.rand(96).to(dtype) + 0.5]
    # PyTorch's own kernel accumulates the weight's gradient in the type of the weight.
    rms_limit = 1e-5 if dtype == torch.float32 else 0.01
    check(
        lambda residual, x, weight: add_layer_norm(residual, x, weight, 1e-5),
        lambda residual, x, weight: reference.add_layer_norm(residual, x, weight, 1e-5),
        inputs,
        rms_limit,
    )
    check(
        lambda x, weight: layer_norm(x, weight, 1e-5),
        lambda x, weight: reference.add_layer_norm(torch.zeros_like(x), x, weight, 1e-5)[1],
        inputs[1:],
        rms_limit,
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: layer_norm(torch.zeros(2, 3), torch.zeros(4), 1e-5), r"weight \(4,\) \(d,\)"),
        (lambda: add_layer_norm(torch.zeros(2, 4), torch.zeros(2, 3), torch.zeros(3), 1e-5), "differ"),
    ],
)
def test_mismatched_shapes_are_rejected(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
