"""Make Triton's interpreter compute bf16 as a GPU does.

The interpreter of Triton 3.6 to 3.9 stores bf16 as uint16. It truncates where it should round, adds and multiplies the
bits as integers, and passes the bits to matmul: the results are silently wrong. `install()`, called before the first
launch, fixes all three.
"""

from typing import Any

import numpy as np
import triton.language as tl
from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

BITWISE = {np.bitwise_and, np.bitwise_or, np.bitwise_xor, np.left_shift, np.right_shift}


def to_float(bits: np.ndarray) -> np.ndarray:
    return (np.asarray(bits).astype(np.uint32) << np.uint32(16)).view(np.float32)


def to_bits(x: np.ndarray) -> np.ndarray:
    """Round to nearest even; NaN stays NaN."""
    bits = np.ascontiguousarray(x, dtype=np.float32).view(np.uint32)
    rounded = (bits + (np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1)))) >> np.uint32(16)
    quiet = (bits >> np.uint32(16)) | np.uint32(0x40)
    return np.where(np.isnan(x), quiet, rounded).astype(np.uint16).reshape(np.shape(x))


def is_bf16(handle: TensorHandle) -> bool:
    return handle.dtype.scalar == tl.bfloat16


def install() -> None:
    builder = InterpreterBuilder
    cast, dot, binary, unary, fma = (
        builder.cast_impl, builder.create_dot, builder.binary_op, builder.unary_op, builder.create_fma,
    )  # fmt: skip

    def cast_impl(self: Any, source: TensorHandle, target: Any) -> TensorHandle:
        types = (source.dtype.scalar, target.scalar)
        if types == (tl.bfloat16, tl.float32):
            return TensorHandle(to_float(source.data), tl.float32)
        if types == (tl.float32, tl.bfloat16):
            return TensorHandle(to_bits(source.data), tl.bfloat16)
        return cast(self, source, target)

    def create_dot(self: Any, a: TensorHandle, b: TensorHandle, c: TensorHandle, *options: Any) -> TensorHandle:
        if a.dtype.scalar in (tl.bfloat16, tl.float16):
            a_data, b_data = (to_float(x.data) if is_bf16(x) else x.data.astype(np.float32) for x in (a, b))
            return TensorHandle(np.matmul(a_data, b_data) + c.data, c.dtype.scalar)
        return dot(self, a, b, c, *options)

    def binary_op(self: Any, a: TensorHandle, b: TensorHandle, op: Any) -> TensorHandle:
        if op in BITWISE or not (is_bf16(a) and is_bf16(b)):
            return binary(self, a, b, op)
        out = op(to_float(a.data), to_float(b.data))
        return TensorHandle(out, tl.int1) if out.dtype == np.bool_ else TensorHandle(to_bits(out), tl.bfloat16)

    def unary_op(self: Any, a: TensorHandle, op: Any) -> TensorHandle:
        return TensorHandle(to_bits(op(to_float(a.data))), tl.bfloat16) if is_bf16(a) else unary(self, a, op)

    def create_fma(self: Any, a: TensorHandle, b: TensorHandle, c: TensorHandle) -> TensorHandle:
        if not is_bf16(c):
            return fma(self, a, b, c)
        return TensorHandle(to_bits(to_float(a.data) * to_float(b.data) + to_float(c.data)), tl.bfloat16)

    builder.cast_impl, builder.create_dot, builder.binary_op = cast_impl, create_dot, binary_op
    builder.unary_op, builder.create_fma = unary_op, create_fma
