"""The Triton attention as a PyTorch operator: differentiable, and opaque to torch.compile."""

import math
from typing import Any

import torch

from ..architecture import architecture
from ..launch import launch
from ..packed import PackedBatch
from ..rope import require_overwritable
from ..rope_tables import rope_tables
from ..rope_triton import rotate_into
from .tile_sizes import Tile, Tuning, tuning
from .triton_backward import attention_backward_dkdv, attention_backward_dq
from .triton_forward import attention_forward


def triton_attention(
    qkv: torch.Tensor,
    batch: PackedBatch,
    window: int | None,
    rope_theta: float,
    *,
    causal: bool = False,
    overwrite: bool = False,
) -> torch.Tensor:
    """(T, 3, H, D) -> (T, H, D); see `dispatch.packed_attention`."""
    tiles = [batch.tiles[size] for size in (32, 64, 128)]
    limit = -1 if window is None else min(window, batch.max_seqlen)
    scalars = (batch.max_seqlen, limit, float(rope_theta))
    if overwrite:
        require_overwritable(qkv)
        # To autograd nothing happens here: the last step of backward is the inverse rotation. `detach` would share
        # the version of qkv, a view, and autograd then rebuild its history by as_strided: nine passes over q.
        _attention_rotate_(qkv.data, batch.positions, *scalars)
    return _attention(qkv, batch.cu_seqlens, batch.positions, *tiles, *scalars, causal, overwrite)[0]


@torch.library.custom_op("clinical_modernbert::attention_rotate_", mutates_args=("qkv",))
def _attention_rotate_(
    qkv: torch.Tensor, positions: torch.Tensor, max_seqlen: int, window: int, rope_theta: float
) -> None:
    """Rotate q and k of qkv (T, 3, H, D) in place, unless this layer's kernels do it while they load."""
    if not _tuning(qkv, window).fused_rope:
        rotate_into(qkv, qkv, positions, max_seqlen, rope_theta)


@torch.library.custom_op("clinical_modernbert::attention", mutates_args=())
def _attention(
    qkv: torch.Tensor,
    cu_seqlens: torch.Tensor,
    positions: torch.Tensor,
    tiles_32: torch.Tensor,
    tiles_64: torch.Tensor,
    tiles_128: torch.Tensor,
    max_seqlen: int,
    window: int,
    rope_theta: float,
    causal: bool,
    rotated: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(output (T, H, D), log2 of the softmax denominators (H, T)). A window of -1 is no window.

    rotated: `_attention_rotate_` was called before."""
    tokens, _, heads, dim = qkv.shape
    out, lse = _empty_outputs(qkv)
    settings = _tuning(qkv, window)
    cos, sin = rope_tables(rope_theta, max_seqlen, dim, qkv.device)
    q, k, v, strides = _split(qkv, positions, max_seqlen, rope_theta, copy=not (settings.fused_rope or rotated))
    tile = settings.forward
    tiles = {32: tiles_32, 64: tiles_64, 128: tiles_128}[tile.block_m]
    launch(
        attention_forward, (len(tiles), heads),
        q, k, v, out, lse, cos, sin, cu_seqlens, tiles,
        *strides, out.stride(0), tokens, _scale(dim) * math.log2(math.e), max(window, 0),
        **_constants(qkv, tile, window, causal, settings.fused_rope),
    )  # fmt: skip
    return out, lse


@torch.library.custom_op("clinical_modernbert::attention_backward", mutates_args=())
def _attention_backward(
    grad_out: torch.Tensor,
    qkv: torch.Tensor,
    out: torch.Tensor,
    lse: torch.Tensor,
    cu_seqlens: torch.Tensor,
    positions: torch.Tensor,
    tiles_32: torch.Tensor,
    tiles_64: torch.Tensor,
    tiles_128: torch.Tensor,
    max_seqlen: int,
    window: int,
    rope_theta: float,
    causal: bool,
    rotated: bool,
) -> torch.Tensor:
    """The gradient (T, 3, H, D) of qkv, as it was before the rotation."""
    tokens, _, heads, dim = qkv.shape
    grad = torch.empty(qkv.shape, dtype=qkv.dtype, device=qkv.device)
    grad_out = grad_out.contiguous()
    settings = _tuning(qkv, window)
    cos, sin = rope_tables(rope_theta, max_seqlen, dim, qkv.device)
    q, k, v, strides = _split(qkv, positions, max_seqlen, rope_theta, copy=not (settings.fused_rope or rotated))
    delta = torch.empty_like(lse)
    scale = _scale(dim)
    tables = {32: tiles_32, 64: tiles_64, 128: tiles_128}
    scalars = (*strides, out.stride(0), grad.stride(0), tokens, scale, scale * math.log2(math.e), max(window, 0))
    tiles = tables[settings.dq.block_m]
    launch(
        attention_backward_dq, (len(tiles), heads),
        q, k, v, out, grad_out, lse, delta, grad[:, 0], cos, sin, cu_seqlens, tiles, *scalars,
        PEEL=settings.dq.peel, **_constants(qkv, settings.dq, window, causal, settings.fused_rope),
    )  # fmt: skip
    tiles = tables[settings.dkdv.block_n]
    launch(
        attention_backward_dkdv, (len(tiles), heads),
        q, k, v, grad_out, lse, delta, grad[:, 1], grad[:, 2], cos, sin, cu_seqlens, tiles, *scalars,
        PEEL=settings.dkdv.peel, **_constants(qkv, settings.dkdv, window, causal, settings.fused_rope),
    )  # fmt: skip
    return grad


@_attention.register_fake
def _(qkv: torch.Tensor, *_: Any) -> tuple[torch.Tensor, torch.Tensor]:
    return _empty_outputs(qkv)


@_attention_backward.register_fake
def _(grad_out: torch.Tensor, qkv: torch.Tensor, *_: Any) -> torch.Tensor:
    return torch.empty(qkv.shape, dtype=qkv.dtype, device=qkv.device)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, torch.Tensor]) -> None:
    qkv, *tables, max_seqlen, window, rope_theta, causal, rotated = inputs
    ctx.save_for_backward(qkv, *output, *tables)
    ctx.scalars = (max_seqlen, window, rope_theta, causal, rotated)
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, grad_out: torch.Tensor | None, _: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
    if grad_out is None:
        return (None,) * 11
    return _attention_backward(grad_out, *ctx.saved_tensors, *ctx.scalars), *(None,) * 10


_attention.register_autograd(_backward, setup_context=_save)


def _empty_outputs(qkv: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    tokens, _, heads, dim = qkv.shape
    return qkv.new_empty(tokens, heads, dim), qkv.new_empty(heads, tokens, dtype=torch.float32)


def _scale(dim: int) -> float:
    return 1 / math.sqrt(dim)


def _tuning(qkv: torch.Tensor, window: int) -> Tuning:
    return tuning(architecture(), qkv.shape[-1], 8 * qkv.element_size(), window >= 0)


def _split(
    qkv: torch.Tensor, positions: torch.Tensor, max_seqlen: int, rope_theta: float, *, copy: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, tuple[int, ...]]:
    """q, k, v, and the token and head strides of q and k, and of v.

    copy: q and k are rotated copies. They are not saved for backward, which rotates again, to save memory.
    """
    if qkv.stride(3) != 1:
        qkv = qkv.contiguous()
    v = qkv[:, 2]
    qk = qkv
    if copy:
        qk = qkv.new_empty(qkv.shape[0], 2, *qkv.shape[2:])
        rotate_into(qk, qkv, positions, max_seqlen, rope_theta)
    return qk[:, 0], qk[:, 1], v, (qk.stride(0), qk.stride(2), v.stride(0), v.stride(1))


def _constants(qkv: torch.Tensor, tile: Tile, window: int, causal: bool, fused_rope: bool) -> dict[str, Any]:
    """The kernels' compile-time arguments.

    On NVIDIA an fp32 product is computed as three TF32 products; on AMD it is exact. AMD's matrix instructions of 16
    rows let a warp own 16 rows of a tile, as on NVIDIA; those of 32 rows would repeat work.
    """
    hip = architecture().startswith("gfx")
    constants = {
        "HALF": qkv.shape[-1] // 2,
        "BLOCK_M": tile.block_m,
        "BLOCK_N": tile.block_n,
        "LOCAL": window >= 0,
        "CAUSAL": causal,
        "ROTATE": fused_rope,
        "PRECISION": "ieee" if hip or qkv.dtype != torch.float32 else "tf32x3",
        "num_warps": tile.num_warps,
        "num_stages": tile.num_stages,
    }
    return {**constants, "matrix_instr_nonkdim": 16} if hip else constants
