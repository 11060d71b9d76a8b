"""The masked-language-model head: decoder matmul and cross-entropy in chunks of rows, without the full logits.

The gradients are computed together with the loss, chunk by chunk, and backward only scales them. That takes three
matmuls instead of the four of recomputing the logits, and backward does not read the weight (ZeRO-3 may have
partitioned it again by then).
"""

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from .devices import use_triton
from .logit_chunks import chunk_rows, sums_in_fp32

IGNORE_INDEX = -100
"""A target that does not count, as in `torch.nn.functional.cross_entropy`."""


def mlm_loss(
    hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, targets: torch.Tensor, *, backend: str = "auto"
) -> tuple[torch.Tensor, torch.Tensor]:
    """Summed cross-entropy of softmax(hidden @ weight.T + bias) against `targets`, and which rows are correct.

    hidden (M, d), weight (V, d), bias (V,), targets int64 (M,), where -100 is ignored; M may be 0.
    Returns (fp32 scalar, bool (M,) without gradient). A row is correct if its target has the largest logit; a tie goes
    to the lower id. Backends: auto, triton, torch; the matmuls are PyTorch's in all of them.
    """
    if hidden.dim() != 2 or weight.dim() != 2 or hidden.shape[1] != weight.shape[1]:
        raise ValueError(f"hidden {tuple(hidden.shape)} and weight {tuple(weight.shape)} must be (M, d) and (V, d)")
    if bias.shape != weight.shape[:1] or targets.shape != hidden.shape[:1]:
        raise ValueError(f"bias {tuple(bias.shape)} must be (V,) and targets {tuple(targets.shape)} (M,)")
    if len({hidden.dtype, weight.dtype, bias.dtype}) > 1:
        raise ValueError(f"hidden, weight and bias differ in type: {hidden.dtype}, {weight.dtype}, {bias.dtype}")
    if not torch.is_grad_enabled():
        # needs_input_grad ignores no_grad, so that forward would compute gradients that nothing reads.
        hidden, weight, bias = hidden.detach(), weight.detach(), bias.detach()
    loss, correct = _MLMLoss.apply(hidden, weight, bias, targets, use_triton(backend, hidden.device))
    return loss, correct


class _MLMLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, targets: torch.Tensor, triton: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        loss = torch.zeros((), dtype=torch.float32, device=hidden.device)
        correct = torch.empty(hidden.shape[0], dtype=torch.bool, device=hidden.device)
        need_hidden, need_weight, need_bias, *_ = ctx.needs_input_grad
        grad_hidden = torch.zeros_like(hidden) if need_hidden else None
        rows = chunk_rows(hidden.shape[0], weight.shape[0], weight.element_size())
        in_fp32 = sums_in_fp32(hidden.shape[0], rows, weight.element_size())
        grad_weight = torch.zeros_like(weight, dtype=torch.float32 if in_fp32 else None) if need_weight else None
        grad_bias = torch.zeros_like(bias, dtype=torch.float32) if need_bias else None
        for start in range(0, hidden.shape[0], rows):
            chunk = slice(start, start + rows)
            logits = torch.addmm(bias, hidden[chunk], weight.t())
            chunk_loss, correct[chunk], grad_logits = _cross_entropy_(logits, targets[chunk], triton)
            loss += chunk_loss
            if grad_hidden is not None:
                torch.mm(grad_logits, weight, out=grad_hidden[chunk])
            if grad_weight is not None and in_fp32:
                grad_weight += torch.mm(grad_logits.t(), hidden[chunk])
            elif grad_weight is not None:
                grad_weight.addmm_(grad_logits.t(), hidden[chunk])
            if grad_bias is not None:
                grad_bias += grad_logits.sum(0, dtype=torch.float32)
        sums = (None if grad is None else grad.to(weight.dtype) for grad in (grad_weight, grad_bias))
        ctx.save_for_backward(grad_hidden, *sums)
        ctx.mark_non_differentiable(correct)
        return loss, correct

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: torch.Tensor, _: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        # In place: a copy of the weight's gradient would double the head's memory. Autograd rejects a second backward.
        scaled = (None if grad is None else grad.mul_(grad_loss.to(grad.dtype)) for grad in ctx.saved_tensors)
        return *scaled, None, None


def _cross_entropy_(
    logits: torch.Tensor, targets: torch.Tensor, triton: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(summed loss, which rows are correct, gradient of the sum by the logits) of a chunk. Overwrites the logits."""
    if triton:
        from .mlm_loss_triton import triton_cross_entropy_

        losses, correct = triton_cross_entropy_(logits, targets)
        return losses.sum(), correct, logits
    counted = targets != IGNORE_INDEX
    index = targets.where(counted, 0)[:, None]
    correct = logits.argmax(dim=1) == targets
    scores = logits.to(torch.promote_types(logits.dtype, torch.float32))
    lse = scores.logsumexp(dim=1, keepdim=True)
    losses = (lse - scores.gather(1, index)).squeeze(1)
    loss = losses.where(counted, 0.0).sum()
    grad = scores.sub_(lse).exp_()
    grad.scatter_add_(1, index, grad.new_full((), -1.0).expand_as(index))
    grad.masked_fill_(~counted[:, None], 0.0)
    return loss, correct, grad.to(logits.dtype)
