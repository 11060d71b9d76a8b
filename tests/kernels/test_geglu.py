"""GeGLU in plain PyTorch against its definition."""

import pytest
import torch
from kernel_accuracy import check

from clinical_modernbert.kernels.geglu import geglu
from clinical_modernbert.kernels.verify import reference
from clinical_modernbert.kernels.verify.accuracy import DTYPES


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES.keys())
def test_accuracy(dtype: torch.dtype) -> None:
    check(geglu, reference.geglu, [torch.randn(17, 192).to(dtype)])


def test_odd_width_is_rejected() -> None:
    with pytest.raises(ValueError, match=r"x must be \(T, 2I\), got \(2, 3\)"):
        geglu(torch.zeros(2, 3))
