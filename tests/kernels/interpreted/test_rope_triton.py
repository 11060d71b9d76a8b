"""RoPE's Triton kernel, in place and into a new tensor."""

import pytest
import torch
from kernel_accuracy import check

from clinical_modernbert.kernels.packed import PackedBatch
from clinical_modernbert.kernels.rope import rotate_qk, rotate_qk_
from clinical_modernbert.kernels.verify import reference
from clinical_modernbert.kernels.verify.accuracy import DTYPES, random_cotangent

LENGTHS = [33, 0, 70, 1]


def expected(qkv: torch.Tensor) -> torch.Tensor:
    sequences = [x.unbind(1)[:2] for x in qkv.split(LENGTHS)]
    return torch.cat([torch.stack([reference.rotate(x, 160_000.0) for x in qk], dim=1) for qk in sequences])


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES.keys())
@pytest.mark.parametrize(("heads", "dim"), [(1, 64), (12, 64), (3, 32), (2, 128)])
def test_accuracy(heads: int, dim: int, dtype: torch.dtype) -> None:
    qkv = torch.randn(104, 3, heads, dim).to(dtype)
    batch = PackedBatch.from_lengths(LENGTHS, "cpu")
    check(lambda x: rotate_qk(x, batch, 160_000.0, backend="triton"), expected, [qkv])


@pytest.mark.parametrize("backend", ["triton", "torch"])
def test_in_place_rotates_q_and_k_and_leaves_v(backend: str) -> None:
    qkv = torch.randn(104, 3, 2, 64)
    batch = PackedBatch.from_lengths(LENGTHS, "cpu")

    def in_place(x: torch.Tensor) -> torch.Tensor:
        y = x * 1.0
        rotated = rotate_qk_(y, batch, 160_000.0, backend=backend)
        assert rotated.data_ptr() == y.data_ptr()
        return rotated

    check(in_place, lambda x: torch.cat([expected(x), x[:, 2:]], dim=1), [qkv])
    assert torch.equal(in_place(qkv)[:, 2], qkv[:, 2])


@pytest.mark.parametrize("backend", ["triton", "torch"])
@pytest.mark.parametrize("positions", [8192, 104])
def test_gradient_is_the_inverse_rotation(positions: int, backend: str) -> None:
    """Also at position 8,191."""
    qkv = torch.randn(positions, 3, 1, 32, requires_grad=True)
    batch = PackedBatch.from_lengths([positions], "cpu")
    rotated = rotate_qk(qkv, batch, 10_000.0, backend=backend)
    back = torch.autograd.grad(rotated, qkv, rotated.detach())[0]
    torch.testing.assert_close(back[:, :2], qkv[:, :2].detach(), rtol=0, atol=2e-6)
    assert not back[:, 2].any()
    assert (rotated[1:] - qkv[1:, :2]).abs().max() > 0.1


def test_writes_stay_inside_a_strided_view() -> None:
    buffer = torch.full((60, 3, 2, 80), float("nan"))
    view = buffer[10:50, ..., :64]
    view.copy_(torch.randn(view.shape))
    clean = view.clone()
    batch = PackedBatch.from_lengths([40], "cpu")
    rotate_qk_(view, batch, 1e4, backend="triton")
    assert torch.equal(view, rotate_qk_(clean, batch, 1e4, backend="triton"))
    assert buffer[:10].isnan().all()
    assert buffer[50:].isnan().all()
    assert buffer[..., 64:].isnan().all()


def test_incoming_gradient_is_not_overwritten() -> None:
    leaf = torch.randn(8, 3, 1, 32, requires_grad=True)
    rotated = rotate_qk_(leaf * 1.0, PackedBatch.from_lengths([8], "cpu"), 1e4, backend="triton")
    grad = random_cotangent(rotated)
    before = grad.clone()
    torch.autograd.grad(rotated, leaf, grad)
    assert torch.equal(grad, before)
