"""GeGLU's Triton kernels."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from kernel_accuracy import check

from clinical_modernbert.kernels.geglu import geglu
from clinical_modernbert.kernels.verify import reference
from clinical_modernbert.kernels.verify.accuracy import DTYPES


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES.keys())
@pytest.mark.parametrize("width", [1152, 2624, 128])
def test_accuracy(width: int, dtype: torch.dtype) -> None:
    check(lambda x: geglu(x, backend="triton"), reference.geglu, [torch.randn(17, 2 * width).to(dtype)])


@given(rows=st.integers(0, 40), width=st.integers(1, 300), dtype=st.sampled_from(list(DTYPES.values())))
def test_any_shape(rows: int, width: int, dtype: torch.dtype) -> None:
    check(lambda x: geglu(x, backend="triton"), reference.geglu, [torch.randn(rows, 2 * width).to(dtype)])
