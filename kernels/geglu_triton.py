"""GeGLU as Triton kernels. Per token, forward reads 2I values and writes I; backward reads 3I and writes 2I."""

from typing import Any

import torch
import triton
import triton.language as tl

from .launch import contiguous_rows, launch

ROWS, COLUMNS = 16, 128
"""Tile of one program. 128 columns divide ModernBERT-base's 1,152 and are one 128-bit load of bf16 for 16 threads."""


@triton.jit(do_not_specialize=["tokens"])
def geglu_forward(X, Y, stride_x, stride_y, tokens, width, ROWS: tl.constexpr, COLUMNS: tl.constexpr):  # type: ignore[no-untyped-def]
    """Y (T, I) = gelu(X[:, :I]) * X[:, I:], in fp32."""
    row, column, mask = _tile(tokens, width, ROWS, COLUMNS)
    x = X + row * stride_x + column
    gate = tl.load(x, mask=mask, other=0.0).to(tl.float32)
    value = tl.load(x + width, mask=mask, other=0.0).to(tl.float32)
    gelu = 0.5 * gate * (1.0 + tl.math.erf(gate * 0.7071067811865476))
    tl.store(Y + row * stride_y + column, (gelu * value).to(Y.dtype.element_ty), mask=mask)


@triton.jit(do_not_specialize=["tokens"])
def geglu_backward(  # type: ignore[no-untyped-def]
    GRAD, X, GRAD_X, stride_grad, stride_x, stride_grad_x, tokens, width, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):
    """GRAD_X (T, 2I) from GRAD (T, I): d gelu(a) = cdf(a) + a pdf(a) of the standard normal distribution."""
    row, column, mask = _tile(tokens, width, ROWS, COLUMNS)
    x = X + row * stride_x + column
    grad = tl.load(GRAD + row * stride_grad + column, mask=mask, other=0.0).to(tl.float32)
    gate = tl.load(x, mask=mask, other=0.0).to(tl.float32)
    value = tl.load(x + width, mask=mask, other=0.0).to(tl.float32)
    cdf = 0.5 * (1.0 + tl.math.erf(gate * 0.7071067811865476))
    pdf = 0.3989422804014327 * tl.exp(-0.5 * gate * gate)
    grad_x = GRAD_X + row * stride_grad_x + column
    tl.store(grad_x, (grad * value * (cdf + gate * pdf)).to(GRAD_X.dtype.element_ty), mask=mask)
    tl.store(grad_x + width, (grad * gate * cdf).to(GRAD_X.dtype.element_ty), mask=mask)


@triton.jit
def _tile(tokens, width, ROWS: tl.constexpr, COLUMNS: tl.constexpr):  # type: ignore[no-untyped-def]
    """Row and column indices of this program's tile, and which of them are inside the matrix."""
    row = (tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS))[:, None]
    column = (tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS))[None, :]
    return row, column, (row < tokens) & (column < width)


@torch.library.custom_op("clinical_modernbert::geglu", mutates_args=())
def triton_geglu(x: torch.Tensor) -> torch.Tensor:
    """(T, 2I) -> (T, I); see `geglu.geglu`."""
    tokens, width = x.shape[0], x.shape[1] // 2
    x = contiguous_rows(x)
    y = x.new_empty(tokens, width)
    launch(geglu_forward, _grid(tokens, width), x, y, x.stride(0), y.stride(0), tokens, width, ROWS, COLUMNS)
    return y


@torch.library.custom_op("clinical_modernbert::geglu_backward", mutates_args=())
def _triton_geglu_backward(grad: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    tokens, width = grad.shape
    grad, x = contiguous_rows(grad), contiguous_rows(x)
    grad_x = x.new_empty(x.shape)
    strides = grad.stride(0), x.stride(0), grad_x.stride(0)
    launch(geglu_backward, _grid(tokens, width), grad, x, grad_x, *strides, tokens, width, ROWS, COLUMNS)
    return grad_x


@triton_geglu.register_fake
def _(x: torch.Tensor) -> torch.Tensor:
    return x.new_empty(x.shape[0], x.shape[1] // 2)


@_triton_geglu_backward.register_fake
def _(grad: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return x.new_empty(x.shape)


def _save(ctx: Any, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
    return _triton_geglu_backward(grad, *ctx.saved_tensors)


triton_geglu.register_autograd(_backward, setup_context=_save)


def _grid(tokens: int, width: int) -> tuple[int, int]:
    return triton.cdiv(tokens, ROWS), triton.cdiv(width, COLUMNS)
