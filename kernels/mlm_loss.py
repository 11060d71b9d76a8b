"""The masked-language-model head: decoder matmul and cross-entropy in chunks of rows, never the full logits.

The gradients are computed with the loss, chunk by chunk, and only scaled in backward: three matmuls instead of the
four that recomputing the logits would take, and the weight is not needed again (so it may be repartitioned).
"""

from typing import Any

import torch
from torch.autograd.function import once_differentiable

from .devices import use_triton
from .logit_chunks import chunk_rows

IGNORED = -100
"""A target that counts for nothing."""


def mlm_loss(
    hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, targets: torch.Tensor, *, backend: str = "auto"
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sum of the cross-entropies of softmax(hidden @ weight.T + bias) against `targets`, and which rows are right.

    hidden (M, d), weight (V, d), bias (V,), targets int64 (M,), where -100 counts for nothing; M may be 0.
    Returns (fp32 scalar, bool (M,) without gradient). Right means the largest logit, the lower id on a tie.
    Backends: auto, triton, torch; the matmuls are PyTorch's in each.
    """
    if hidden.dim() != 2 or weight.dim() != 2 or hidden.shape[1] != weight.shape[1]:
        raise ValueError(f"hidden {tuple(hidden.shape)} and weight {tuple(weight.shape)} must be (M, d) and (V, d)")
    if bias.shape != weight.shape[:1] or targets.shape != hidden.shape[:1]:
        raise ValueError(f"bias {tuple(bias.shape)} must be (V,) and targets {tuple(targets.shape)} (M,)")
    if len({hidden.dtype, weight.dtype, bias.dtype}) > 1:
        raise ValueError(f"hidden, weight and bias differ in type: {hidden.dtype}, {weight.dtype}, {bias.dtype}")
    if not torch.is_grad_enabled():
        # Inside apply, needs_input_grad would still say that gradients are wanted, and they would be computed.
        hidden, weight, bias = hidden.detach(), weight.detach(), bias.detach()
    loss, right = _MLMLoss.apply(hidden, weight, bias, targets, use_triton(backend, hidden.device))
    return loss, right


class _MLMLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, targets: torch.Tensor, triton: bool
    ) -> tuple[torch.Tensor, torch.Tensor]:
        loss = torch.zeros((), dtype=torch.float32, device=hidden.device)
        right = torch.empty(hidden.shape[0], dtype=torch.bool, device=hidden.device)
        need_hidden, need_weight, need_bias, *_ = ctx.needs_input_grad
        grad_hidden = torch.zeros_like(hidden) if need_hidden else None
        grad_weight = torch.zeros_like(weight) if need_weight else None
        grad_bias = torch.zeros_like(bias, dtype=torch.float32) if need_bias else None
        rows = chunk_rows(hidden.shape[0])
        for start in range(0, hidden.shape[0], rows):
            chunk = slice(start, start + rows)
            logits = torch.addmm(bias, hidden[chunk], weight.t())
            chunk_loss, right[chunk], grad_logits = _cross_entropy_(logits, targets[chunk], triton)
            loss += chunk_loss
            if grad_hidden is not None:
                torch.mm(grad_logits, weight, out=grad_hidden[chunk])
            if grad_weight is not None:
                grad_weight.addmm_(grad_logits.t(), hidden[chunk])
            if grad_bias is not None:
                grad_bias += grad_logits.sum(0, dtype=torch.float32)
        ctx.save_for_backward(grad_hidden, grad_weight, None if grad_bias is None else grad_bias.to(bias.dtype))
        ctx.mark_non_differentiable(right)
        return loss, right

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: torch.Tensor, _: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        # in place: a copy of the weight's gradient would double the head's memory; a second backward is refused
        scaled = (None if grad is None else grad.mul_(grad_loss.to(grad.dtype)) for grad in ctx.saved_tensors)
        return *scaled, None, None


def _cross_entropy_(
    logits: torch.Tensor, targets: torch.Tensor, triton: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(sum of losses, which rows are right, gradient of the sum by the logits) of a chunk, whose logits are lost."""
    if triton:
        from .mlm_loss_triton import triton_cross_entropy_

        losses, right = triton_cross_entropy_(logits, targets)
        return losses.sum(), right, logits
    counted = targets != IGNORED
    index = targets.where(counted, 0)[:, None]
    right = logits.argmax(dim=1) == targets
    scores = logits.to(torch.promote_types(logits.dtype, torch.float32))
    normaliser = scores.logsumexp(dim=1, keepdim=True)
    losses = (normaliser - scores.gather(1, index)).squeeze(1)
    loss = losses.where(counted, 0.0).sum()
    grad = scores.sub_(normaliser).exp_()
    grad.scatter_add_(1, index, grad.new_full((), -1.0).expand_as(index))
    grad.masked_fill_(~counted[:, None], 0.0)
    return loss, right, grad.to(logits.dtype)
