"""The chunked MLM loss in plain PyTorch against the full logits."""

from collections.abc import Callable

import pytest
import torch
from gradients import gradient_of
from torch import Tensor

from clinical_modernbert.kernels import logit_chunks
from clinical_modernbert.kernels.logit_chunks import CHUNK_BYTES, chunk_rows
from clinical_modernbert.kernels.mlm_loss import mlm_loss
from clinical_modernbert.kernels.verify import reference


def random_inputs(rows: int, dtype: torch.dtype, vocabulary: int = 301, width: int = 48) -> list[Tensor]:
    generator = torch.Generator().manual_seed(rows)
    hidden = torch.randn(rows, width, generator=generator)
    weight = torch.randn(vocabulary, width, generator=generator) / width**0.5
    bias = torch.randn(vocabulary, generator=generator)
    targets = torch.randint(0, vocabulary, (rows,), generator=generator)
    targets[3::7] = -100
    return [hidden.to(dtype), weight.to(dtype), bias.to(dtype), targets]


def loss_and_gradients(
    function: Callable[..., tuple[Tensor, Tensor]],
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor,
    targets: Tensor,
) -> tuple[Tensor, Tensor, list[Tensor]]:
    leaves = [x.clone().requires_grad_() for x in (hidden, weight, bias)]
    loss, correct = function(*leaves, targets)
    (loss * 0.25).backward()
    return loss.detach(), correct, [gradient_of(x) for x in leaves]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("rows", [1, 5, 1024, 1025, 4500])
def test_agrees_with_full_logits_in_fp64(rows: int, dtype: torch.dtype) -> None:
    inputs = random_inputs(rows, dtype)
    exact = [x.double() if x.is_floating_point() else x for x in inputs]
    loss, correct, grads = loss_and_gradients(mlm_loss, *inputs)
    exact_loss, exact_correct, exact_grads = loss_and_gradients(reference.mlm_loss, *exact)
    _, _, plain_grads = loss_and_gradients(reference.mlm_loss, *inputs)
    assert loss.dtype == torch.float32
    # Each row's logit is rounded once, independently: the error of the sum grows with the square root of the rows.
    max_logit = (exact[0] @ exact[1].t() + exact[2]).abs().max()
    assert (loss - exact_loss).abs() <= 3 * rows**0.5 * torch.finfo(dtype).eps * max_logit + 1e-6 * exact_loss
    assert (correct != exact_correct).sum() <= (0 if dtype == torch.float32 else 2 + rows // 100)
    for grad, exact_grad, plain_grad in zip(grads, exact_grads, plain_grads, strict=True):
        quantum = torch.finfo(dtype).eps * exact_grad.abs().max()
        assert (grad - exact_grad).abs().max() <= 3 * (plain_grad - exact_grad).abs().max() + quantum


def test_no_masked_tokens_give_zero_gradients() -> None:
    hidden, weight, bias, targets = random_inputs(0, torch.float32)
    loss, correct, grads = loss_and_gradients(mlm_loss, hidden, weight, bias, targets)
    assert loss == 0
    assert correct.shape == (0,)
    assert [grad.shape for grad in grads] == [hidden.shape, weight.shape, bias.shape]
    assert all(not grad.any() for grad in grads)


def test_ignored_targets_do_not_count() -> None:
    hidden, weight, bias, targets = random_inputs(20, torch.float32)
    kept = targets != -100
    loss, correct, grads = loss_and_gradients(mlm_loss, hidden, weight, bias, targets)
    short_loss, short_correct, short_grads = loss_and_gradients(mlm_loss, hidden[kept], weight, bias, targets[kept])
    torch.testing.assert_close(loss, short_loss)
    assert torch.equal(correct[kept], short_correct)
    assert not correct[~kept].any()
    torch.testing.assert_close(grads[1:], short_grads[1:])
    assert not grads[0][~kept].any()


def test_a_tie_goes_to_the_lower_id() -> None:
    hidden, weight, bias = torch.ones(2, 4), torch.zeros(6, 4), torch.tensor([0.0, 1, 0, 1, 0, 0])
    assert mlm_loss(hidden, weight, bias, torch.tensor([1, 3]))[1].tolist() == [True, False]


def test_weight_may_change_between_forward_and_backward() -> None:
    """ZeRO-3 frees the weight's memory after forward."""
    hidden, weight, bias, targets = random_inputs(40, torch.float32)
    expected = loss_and_gradients(mlm_loss, hidden, weight, bias, targets)[2]
    leaves = [x.clone().requires_grad_() for x in (hidden, weight, bias)]
    loss, _ = mlm_loss(leaves[0], leaves[1], leaves[2], targets)
    leaves[1].data.fill_(float("nan"))
    (loss * 0.25).backward()
    assert all(torch.equal(gradient_of(leaf), grad) for leaf, grad in zip(leaves, expected, strict=True))


def test_frozen_inputs_get_no_gradient() -> None:
    hidden, weight, bias, targets = random_inputs(9, torch.float32)
    loss, _ = mlm_loss(hidden.requires_grad_(), weight, bias, targets)
    loss.backward()
    assert hidden.grad is not None
    assert weight.grad is None
    assert not mlm_loss(hidden.detach(), weight, bias, targets)[0].requires_grad


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_many_small_chunks_are_as_exact(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype) -> None:
    """A vocabulary so large that a chunk has 16 rows: the sum of 282 products, each rounded, is that of one."""
    monkeypatch.setattr(logit_chunks, "CHUNK_BYTES", 16 * 301 * dtype.itemsize)
    assert chunk_rows(4500, 301, dtype.itemsize) == 16
    test_agrees_with_full_logits_in_fp64(4500, dtype)


def test_chunks_are_bounded_by_bytes_and_few() -> None:
    for rows in (1, 1023, 2458, 20_000, 40_000):
        for vocabulary in (1000, 50_368, 128_000, 256_000, 1_000_000, 1 << 24):
            for size in (2, 4):
                chunk = chunk_rows(rows, vocabulary, size)
                assert chunk % 16 == 0
                assert chunk == 16 or chunk * vocabulary * size <= CHUNK_BYTES
                many = rows > 4 * chunk
                assert not many or (chunk + 16) * vocabulary * size > CHUNK_BYTES
    # As before it was bounded, for the batches that were in use.
    assert [chunk_rows(rows, 50_368, 2) for rows in (100, 2458, 4096, 9832, 19_664)] == [1024, 1024, 1024, 2464, 4928]


def test_mismatched_shapes_are_rejected() -> None:
    with pytest.raises(ValueError, match=r"must be \(M, d\) and \(V, d\)"):
        mlm_loss(torch.zeros(2, 3), torch.zeros(5, 4), torch.zeros(5), torch.zeros(2, dtype=torch.long))
