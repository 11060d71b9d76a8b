"""RoPE in plain PyTorch against its definition."""

import pytest
import torch
from kernel_accuracy import check

from clinical_modernbert.kernels.packed import PackedBatch
from clinical_modernbert.kernels.rope import rotate_qk
from clinical_modernbert.kernels.verify import reference
from clinical_modernbert.kernels.verify.accuracy import DTYPES


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES.keys())
def test_positions_restart_at_every_sequence(dtype: torch.dtype) -> None:
    lengths = [5, 0, 40, 1]

    def expected(qkv: torch.Tensor) -> torch.Tensor:
        return torch.cat(
            [torch.stack([reference.rotate(x, 1e4) for x in one.unbind(1)[:2]], dim=1) for one in qkv.split(lengths)]
        )

    batch = PackedBatch.from_lengths(lengths, "cpu")
    check(lambda x: rotate_qk(x, batch, 1e4), expected, [torch.randn(46, 3, 2, 32).to(dtype)])
