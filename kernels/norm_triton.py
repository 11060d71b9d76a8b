"""Residual sum and bias-free layer norm as Triton kernels. Each row is read once and stays in registers."""

from typing import Any

import torch
import triton
import triton.language as tl

from .architecture import threads_per_warp
from .launch import contiguous_rows, launch

ROWS = 32
"""Rows whose weight gradient one program sums. The programs' partial sums are added in a fixed order."""


@triton.jit
def norm_forward(  # type: ignore[no-untyped-def]
    X, RESIDUAL, WEIGHT, TOTAL, Y, MEAN, RSTD, stride_x, stride_residual, width, eps,
    COLUMNS: tl.constexpr, ADD: tl.constexpr,
):  # fmt: skip
    """Y = layer norm of X, or of TOTAL = X + RESIDUAL if ADD. MEAN and RSTD = 1 / std are for backward."""
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, COLUMNS)
    mask = column < width
    x = tl.load(X + row * stride_x + column, mask=mask, other=0.0).to(tl.float32)
    if ADD:
        x += tl.load(RESIDUAL + row * stride_residual + column, mask=mask, other=0.0).to(tl.float32)
        total = x.to(TOTAL.dtype.element_ty)
        tl.store(TOTAL + row * width + column, total, mask=mask)
        x = total.to(tl.float32)  # normalize the rounded sum, which the next layer reads
    mean = tl.sum(x, 0) / width
    centered = tl.where(mask, x - mean, 0.0)
    rstd = 1.0 / tl.sqrt(tl.sum(centered * centered, 0) / width + eps)
    weight = tl.load(WEIGHT + column, mask=mask, other=0.0).to(tl.float32)
    tl.store(Y + row * width + column, (centered * rstd * weight).to(Y.dtype.element_ty), mask=mask)
    tl.store(MEAN + row, mean)
    tl.store(RSTD + row, rstd)


@triton.jit(do_not_specialize=["tokens"])
def norm_backward(  # type: ignore[no-untyped-def]
    GRAD_Y, GRAD_TOTAL, TOTAL, WEIGHT, MEAN, RSTD, GRAD_X, GRAD_WEIGHT,
    stride_grad_y, stride_grad_total, stride_total, tokens, width,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, ADD: tl.constexpr,
):  # fmt: skip
    """GRAD_X = rstd (wdy - mean(wdy) - x_hat mean(wdy x_hat)), plus GRAD_TOTAL if ADD, with x_hat the normalized row
    and wdy = WEIGHT * GRAD_Y. GRAD_WEIGHT[program] = sum of GRAD_Y * x_hat over the program's ROWS rows."""
    first = tl.program_id(0).to(tl.int64) * ROWS
    column = tl.arange(0, COLUMNS)
    column_mask = column < width
    weight = tl.load(WEIGHT + column, mask=column_mask, other=0.0).to(tl.float32)
    grad_weight = tl.zeros([COLUMNS], tl.float32)
    for index in range(ROWS):
        row = first + index
        mask = column_mask & (row < tokens)
        total = tl.load(TOTAL + row * stride_total + column, mask=mask, other=0.0).to(tl.float32)
        grad_y = tl.load(GRAD_Y + row * stride_grad_y + column, mask=mask, other=0.0).to(tl.float32)
        rstd = tl.load(RSTD + row, mask=row < tokens, other=0.0)
        x_hat = tl.where(column_mask, (total - tl.load(MEAN + row, mask=row < tokens, other=0.0)) * rstd, 0.0)
        grad_weight += grad_y * x_hat
        wdy = grad_y * weight
        grad_x = (wdy - tl.sum(wdy, 0) / width - x_hat * (tl.sum(wdy * x_hat, 0) / width)) * rstd
        if ADD:
            grad_x += tl.load(GRAD_TOTAL + row * stride_grad_total + column, mask=mask, other=0.0).to(tl.float32)
        tl.store(GRAD_X + row * width + column, grad_x.to(GRAD_X.dtype.element_ty), mask=mask)
    tl.store(GRAD_WEIGHT + tl.program_id(0) * width + column, grad_weight, mask=column_mask)


@torch.library.custom_op("clinical_modernbert::add_layer_norm", mutates_args=())
def triton_add_layer_norm(
    residual: torch.Tensor | None, x: torch.Tensor, weight: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """(sum, its norm, mean, 1 / std). Without a residual the first is empty: there is no sum to store."""
    x = contiguous_rows(x)
    addend = x if residual is None else contiguous_rows(residual)
    total, y, mean, rstd = _outputs(residual, x)
    launch(
        norm_forward, (x.shape[0],),
        x, addend, weight, total, y, mean, rstd, x.stride(0), addend.stride(0), x.shape[1], eps,
        ADD=residual is not None, **_constants(x),
    )  # fmt: skip
    return total, y, mean, rstd


@torch.library.custom_op("clinical_modernbert::add_layer_norm_backward", mutates_args=())
def _triton_add_layer_norm_backward(
    grad_total: torch.Tensor | None,
    grad_y: torch.Tensor,
    total: torch.Tensor,
    weight: torch.Tensor,
    mean: torch.Tensor,
    rstd: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The gradients of x (and so of the residual) and of the weight."""
    total, grad_y = contiguous_rows(total), contiguous_rows(grad_y)
    addend = grad_y if grad_total is None else contiguous_rows(grad_total)
    grad_x = total.new_empty(total.shape)
    programs = triton.cdiv(total.shape[0], ROWS)
    partial_sums = total.new_empty(programs, total.shape[1], dtype=torch.float32)
    launch(
        norm_backward, (programs,),
        grad_y, addend, total, weight, mean, rstd, grad_x, partial_sums,
        grad_y.stride(0), addend.stride(0), total.stride(0), *total.shape,
        ROWS=ROWS, ADD=grad_total is not None, **_constants(total),
    )  # fmt: skip
    return grad_x, partial_sums.sum(0).to(weight.dtype)


@triton_add_layer_norm.register_fake
def _(
    residual: torch.Tensor | None, x: torch.Tensor, weight: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    return _outputs(residual, x)


@_triton_add_layer_norm_backward.register_fake
def _(
    grad_total: torch.Tensor | None, grad_y: torch.Tensor, total: torch.Tensor, weight: torch.Tensor, *_: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    return total.new_empty(total.shape), weight.new_empty(weight.shape)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
    residual, x, weight, _ = inputs
    total, _, mean, rstd = output
    ctx.save_for_backward(x if residual is None else total, weight, mean, rstd)
    ctx.has_residual = residual is not None
    ctx.mark_non_differentiable(mean, rstd)
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, grad_total: torch.Tensor | None, grad_y: torch.Tensor | None, *_: Any) -> tuple[Any, ...]:
    total, weight, mean, rstd = ctx.saved_tensors
    if not ctx.has_residual:
        grad_total = None
    if grad_y is None:
        return grad_total, grad_total, None, None
    grad_x, grad_weight = _triton_add_layer_norm_backward(grad_total, grad_y, total, weight, mean, rstd)
    return grad_x if ctx.has_residual else None, grad_x, grad_weight, None


triton_add_layer_norm.register_autograd(_backward, setup_context=_save)


def _outputs(
    residual: torch.Tensor | None, x: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    tokens, width = x.shape
    mean, rstd = (x.new_empty(tokens, dtype=torch.float32) for _ in range(2))
    return x.new_empty(0 if residual is None else tokens, width), x.new_empty(tokens, width), mean, rstd


def _constants(x: torch.Tensor) -> dict[str, int]:
    """Compile-time arguments. Each thread holds eight values of a row: one 128-bit load of bf16."""
    columns = triton.next_power_of_2(x.shape[1])
    return {"COLUMNS": columns, "num_warps": min(max(columns // (8 * threads_per_warp()), 1), 16)}
