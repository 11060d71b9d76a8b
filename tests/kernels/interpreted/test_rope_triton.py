"""RoPE's Triton kernel, in place and into a new tensor."""

import pytest
import torch
from kernel_accuracy import check

from clinical_modernbert.kernels.packed import PackedBatch
from clinical_modernbert.kernels.rope import rotate_qk
from clinical_modernbert.kernels.rope_triton import triton_rotate_
from clinical_modernbert.kernels.verify import reference
from clinical_modernbert.kernels.verify.accuracy import DTYPES, random_cotangent

LENGTHS = [33, 0, 70, 1]


def expected(qkv: torch.Tensor) -> tuple[torch.Tensor, ...]:
    q, k, v = qkv.unbind(1)
    return *(torch.cat([reference.rotate(one, 160_000.0) for one in x.split(LENGTHS)]) for x in (q, k)), v


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=DTYPES.keys())
@pytest.mark.parametrize(("heads", "dim"), [(1, 64), (12, 64), (3, 32), (2, 128)])
def test_accuracy(heads: int, dim: int, dtype: torch.dtype) -> None:
    qkv = torch.randn(104, 3, heads, dim).to(dtype)
    batch = PackedBatch.from_lengths(LENGTHS, "cpu")
    check(lambda x: rotate_qk(x, batch, 160_000.0, backend="triton"), expected, [qkv])


@pytest.mark.parametrize("backend", ["triton", "torch"])
def test_in_place_it_rotates_q_and_k_and_leaves_v(backend: str) -> None:
    qkv = torch.randn(104, 3, 2, 64)
    batch = PackedBatch.from_lengths(LENGTHS, "cpu")

    def in_place(x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        y = x * 1.0
        rotated = rotate_qk(y, batch, 160_000.0, overwrite=True, backend=backend)
        assert [one.data_ptr() for one in rotated] == [one.data_ptr() for one in y.unbind(1)]
        return rotated

    check(in_place, expected, [qkv])
    copies = rotate_qk(qkv, batch, 160_000.0, backend=backend)
    assert all(torch.equal(one, other) for one, other in zip(in_place(qkv), copies, strict=True))


@pytest.mark.parametrize("backend", ["triton", "torch"])
@pytest.mark.parametrize("positions", [8192, 104])
def test_gradient_is_the_inverse_rotation(positions: int, backend: str) -> None:
    """Also at position 8,191."""
    qkv = torch.randn(positions, 3, 1, 32, requires_grad=True)
    batch = PackedBatch.from_lengths([positions], "cpu")
    q, k, _ = rotate_qk(qkv, batch, 10_000.0, backend=backend)
    back = torch.autograd.grad([q, k], qkv, [q.detach(), k.detach()])[0]
    torch.testing.assert_close(back[:, :2], qkv[:, :2].detach(), rtol=0, atol=2e-6)
    assert not back[:, 2].any()
    assert (q[1:] - qkv[1:, 0]).abs().max() > 0.1


def test_writes_stay_inside_a_strided_view() -> None:
    buffer = torch.full((60, 3, 2, 80), float("nan"))
    view = buffer[10:50, ..., :64]
    view.copy_(torch.randn(view.shape))
    clean = view.clone()
    batch = PackedBatch.from_lengths([40], "cpu")
    for qkv in (view, clean):
        triton_rotate_(qkv[:, :2], batch.positions, batch.max_seqlen, 1e4, False)
    assert torch.equal(view, clean)
    assert buffer[:10].isnan().all()
    assert buffer[50:].isnan().all()
    assert buffer[..., 64:].isnan().all()


def test_incoming_gradients_are_not_overwritten() -> None:
    leaf = torch.randn(8, 3, 1, 32, requires_grad=True)
    rotated = rotate_qk(leaf * 1.0, PackedBatch.from_lengths([8], "cpu"), 1e4, overwrite=True, backend="triton")
    grads = [random_cotangent(one) for one in rotated]
    before = [grad.clone() for grad in grads]
    torch.autograd.grad(rotated, leaf, grads)
    assert all(torch.equal(one, other) for one, other in zip(grads, before, strict=True))
