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

    def expected(qkv: torch.Tensor) -> tuple[torch.Tensor, ...]:
        q, k, v = qkv.unbind(1)
        return *(torch.cat([reference.rotate(one, 1e4) for one in x.split(lengths)]) for x in (q, k)), v

    batch = PackedBatch.from_lengths(lengths, "cpu")
    check(lambda x: rotate_qk(x, batch, 1e4), expected, [torch.randn(46, 3, 2, 32).to(dtype)])


@pytest.mark.parametrize("overwrite", [False, True])
def test_what_others_saved_of_qkv_is_never_silently_wrong(overwrite: bool) -> None:
    leaf = torch.randn(6, 3, 1, 32, requires_grad=True)
    qkv = leaf * 1.0
    square = qkv.square()  # its backward reads qkv
    q, k, _ = rotate_qk(qkv, PackedBatch.from_lengths([6], "cpu"), 1e4, overwrite=overwrite)
    loss = q.sum() + k.sum() + square.sum()
    if overwrite:
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.backward()
    else:
        loss.backward()


def test_a_leaf_is_not_overwritten() -> None:
    leaf = torch.randn(6, 3, 1, 32, requires_grad=True)
    with pytest.raises(ValueError, match="is a leaf that requires a gradient"):
        rotate_qk(leaf, PackedBatch.from_lengths([6], "cpu"), 1e4, overwrite=True)
