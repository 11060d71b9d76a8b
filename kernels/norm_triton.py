"""Residual sum and bias-free layer norm as Triton kernels: a row is read once, and stays in registers."""

from typing import Any

import torch
import triton
import triton.language as tl

from .architecture import lanes

ROWS = 32
"""Rows whose share of the weight's gradient one program sums; the shares are added in a fixed order."""


@triton.jit
def norm_forward(  # type: ignore[no-untyped-def]
    X, RESIDUAL, WEIGHT, TOTAL, Y, MEAN, SCALE, stride_x, stride_residual, width, eps,
    COLUMNS: tl.constexpr, ADD: tl.constexpr,
):  # fmt: skip
    """Y = layer norm of X (+ RESIDUAL, the sum going to TOTAL); MEAN and SCALE = 1 / std are kept for backward."""
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, COLUMNS)
    inside = column < width
    x = tl.load(X + row * stride_x + column, mask=inside, other=0.0).to(tl.float32)
    if ADD:
        x += tl.load(RESIDUAL + row * stride_residual + column, mask=inside, other=0.0).to(tl.float32)
        total = x.to(TOTAL.dtype.element_ty)
        tl.store(TOTAL + row * width + column, total, mask=inside)
        x = total.to(tl.float32)  # normalise what the next layer will read
    mean = tl.sum(x, 0) / width
    centred = tl.where(inside, x - mean, 0.0)
    scale = 1.0 / tl.sqrt(tl.sum(centred * centred, 0) / width + eps)
    weight = tl.load(WEIGHT + column, mask=inside, other=0.0).to(tl.float32)
    tl.store(Y + row * width + column, (centred * scale * weight).to(Y.dtype.element_ty), mask=inside)
    tl.store(MEAN + row, mean)
    tl.store(SCALE + row, scale)


@triton.jit(do_not_specialize=["tokens"])
def norm_backward(  # type: ignore[no-untyped-def]
    GRAD_Y, GRAD_TOTAL, TOTAL, WEIGHT, MEAN, SCALE, GRAD_X, GRAD_WEIGHT,
    stride_grad_y, stride_grad_total, stride_total, tokens, width,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, ADD: tl.constexpr,
):  # fmt: skip
    """GRAD_X = scale (g - mean(g) - n mean(g n)) (+ GRAD_TOTAL), with n the normalised row and g = GRAD_Y * WEIGHT;
    GRAD_WEIGHT[program] = sum over its ROWS rows of GRAD_Y * n."""
    first = tl.program_id(0).to(tl.int64) * ROWS
    column = tl.arange(0, COLUMNS)
    inside = column < width
    weight = tl.load(WEIGHT + column, mask=inside, other=0.0).to(tl.float32)
    grad_weight = tl.zeros([COLUMNS], tl.float32)
    for index in range(ROWS):
        row = first + index
        here = inside & (row < tokens)
        total = tl.load(TOTAL + row * stride_total + column, mask=here, other=0.0).to(tl.float32)
        grad_y = tl.load(GRAD_Y + row * stride_grad_y + column, mask=here, other=0.0).to(tl.float32)
        scale = tl.load(SCALE + row, mask=row < tokens, other=0.0)
        normal = tl.where(inside, (total - tl.load(MEAN + row, mask=row < tokens, other=0.0)) * scale, 0.0)
        grad_weight += grad_y * normal
        g = grad_y * weight
        grad_x = (g - tl.sum(g, 0) / width - normal * (tl.sum(g * normal, 0) / width)) * scale
        if ADD:
            grad_x += tl.load(GRAD_TOTAL + row * stride_grad_total + column, mask=here, other=0.0).to(tl.float32)
        tl.store(GRAD_X + row * width + column, grad_x.to(GRAD_X.dtype.element_ty), mask=here)
    tl.store(GRAD_WEIGHT + tl.program_id(0) * width + column, grad_weight, mask=inside)


@torch.library.custom_op("clinical_modernbert::add_layer_norm", mutates_args=())
def triton_add_layer_norm(
    residual: torch.Tensor | None, x: torch.Tensor, weight: torch.Tensor, eps: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """(sum, its norm, mean, 1 / std). Without a residual there is no sum to store, and the first is empty."""
    x = _rows(x)
    added = x if residual is None else _rows(residual)
    total, y, mean, scale = _outputs(residual, x)
    if x.numel():
        with torch.cuda.device_of(x):
            norm_forward[(x.shape[0],)](
                x, added, weight, total, y, mean, scale, x.stride(0), added.stride(0), x.shape[1], eps,
                ADD=residual is not None, **_shape(x),
            )  # fmt: skip
    return total, y, mean, scale


@torch.library.custom_op("clinical_modernbert::add_layer_norm_backward", mutates_args=())
def _triton_add_layer_norm_backward(
    grad_total: torch.Tensor | None,
    grad_y: torch.Tensor,
    total: torch.Tensor,
    weight: torch.Tensor,
    mean: torch.Tensor,
    scale: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The gradients of x (and so of the residual) and of the weight."""
    total, grad_y = _rows(total), _rows(grad_y)
    added = grad_y if grad_total is None else _rows(grad_total)
    grad_x = total.new_empty(total.shape)
    programs = triton.cdiv(total.shape[0], ROWS)
    shares = total.new_empty(programs, total.shape[1], dtype=torch.float32)
    if total.numel():
        strides = grad_y.stride(0), added.stride(0), total.stride(0)
        with torch.cuda.device_of(total):
            norm_backward[(programs,)](
                grad_y, added, total, weight, mean, scale, grad_x, shares, *strides, *total.shape, ROWS=ROWS,
                ADD=grad_total is not None, **_shape(total),
            )  # fmt: skip
    return grad_x, shares.sum(0).to(weight.dtype)


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
    total, _, mean, scale = output
    ctx.save_for_backward(x if residual is None else total, weight, mean, scale)
    ctx.with_residual = residual is not None
    ctx.mark_non_differentiable(mean, scale)
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, grad_total: torch.Tensor | None, grad_y: torch.Tensor | None, *_: Any) -> tuple[Any, ...]:
    total, weight, mean, scale = ctx.saved_tensors
    if not ctx.with_residual:
        grad_total = None
    if grad_y is None:
        return grad_total, grad_total, None, None
    grad_x, grad_weight = _triton_add_layer_norm_backward(grad_total, grad_y, total, weight, mean, scale)
    return grad_x if ctx.with_residual else None, grad_x, grad_weight, None


triton_add_layer_norm.register_autograd(_backward, setup_context=_save)


def _outputs(
    residual: torch.Tensor | None, x: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    tokens, width = x.shape
    mean, scale = (x.new_empty(tokens, dtype=torch.float32) for _ in range(2))
    return x.new_empty(0 if residual is None else tokens, width), x.new_empty(tokens, width), mean, scale


def _rows(x: torch.Tensor) -> torch.Tensor:
    return x if x.stride(1) == 1 else x.contiguous()


def _shape(x: torch.Tensor) -> dict[str, int]:
    """Eight values a thread: one 128-bit load of bf16."""
    columns = triton.next_power_of_2(x.shape[1])
    return {"COLUMNS": columns, "num_warps": min(max(columns // (8 * lanes()), 1), 16)}
