"""The calls of a micro-batch as arithmetic on the shapes of its tensors: bytes, FLOPs and launches, without torch.

`cmbert plan` needs them at once, and importing torch and tracing the model takes seconds of processor time. So the
operations of `model/` are written down here a second time, and tests/training/planning/test_calls.py compares each of
them with what the running model calls (`trace.py`). A model with settings that are not written down here is traced, and
so is the prediction of the next token.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ...configs.errors import UserError
from ...kernels.attention.tile_sizes import Tile, Tuning, tuning
from ...kernels.logit_chunks import chunk_rows, sums_in_fp32
from ...model.config import ModelConfig

Tiles = tuple[Tuning, Tuning]
"""Those of global layers, and of local layers."""
NORM_ROWS = 32
"""Rows for which the norm's backward writes one partial sum (kernels/norm_triton.py)."""
_COVERED = {
    *("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("global_attn_every_n_layers", "local_attention", "global_rope_theta", "local_rope_theta", "norm_eps"),
    *("max_position_embeddings", "initializer_range", "initializer_cutoff_factor"),
    *("pad_token_id", "cls_token_id", "sep_token_id"),
}
"""Settings of a model that `_forward`, `_loss` and `_backward` follow. Others must have their defaults."""


@dataclass(frozen=True)
class Call:
    """A call of an operator, or all calls of the update.

    Attributes:
        phase: forward, backward or update.
        kind: a key of `roofline.ASSUMED`.
        bytes: read and written.
    """

    phase: str
    name: str
    kind: str
    launches: int
    bytes: float
    flops: float = 0.0


def count_calls(
    config: ModelConfig,
    lengths: Sequence[int],
    masked: int,
    architecture: str,
    size: int = 2,
    strict: bool = True,
    causal: bool = False,
) -> list[Call]:
    """The calls of forward and backward for sequences of these lengths, on a device of this architecture.

    Args:
        masked: tokens that pass through the head.
        architecture: a key of the tables in `kernels/attention/tile_sizes.py`.
        size: bytes of a value.
        strict: refuse an architecture or head size without kernels, instead of counting those of another one.
        causal: whether the tokens that pass through the head predict the next one.
    Raises:
        UserError: there are no Triton kernels for this architecture or head size.
    """
    try:
        tiles = choose_tiles(config, architecture, size)
    except KeyError as error:
        if strict:
            raise UserError(
                f"no Triton kernels for {architecture} and heads of {config.head_dim}, so that they cannot be counted: "
                "choose another --gpu"
            ) from error
        config = config.model_copy(update={"num_attention_heads": max(1, config.hidden_size // 64)})
        tiles = (tuning("sm80", 64, 16, False), tuning("sm80", 64, 16, True))
    if causal or not config.model_dump(exclude_defaults=True).keys() <= _COVERED:
        from .trace import trace_calls  # it imports torch

        return trace_calls(config, lengths, masked, tiles, size, causal)
    shapes = _Shapes(config, Counter(lengths), masked, tiles, size)
    return [*_forward(shapes), *_loss(shapes), *_backward(shapes)]


def choose_tiles(config: ModelConfig, architecture: str, size: int) -> Tiles:
    """Those of the attention kernels; KeyError: there are none for this architecture or head size."""
    chosen = [tuning(architecture, config.head_dim, 8 * size, local) for local in (False, True)]
    return chosen[0], chosen[1]


def tile_pairs(lengths: Counter[int], tile: Tile, window: int, causal: bool = False) -> int:
    """Pairs of query and key in all tiles that one head computes; a negative window is no window.

    Args:
        lengths: the number of sequences of each length.
    """
    pairs = 0
    for length, sequences in lengths.items():
        for first in range(0, length, tile.block_m):
            begin, end = 0, length
            if window >= 0:
                begin = max(first - window, 0) // tile.block_n * tile.block_n
                end = min(first + tile.block_m + window, length)
            if causal:
                end = min(first + tile.block_m, length)
            pairs += sequences * tile.block_m * -(-(end - begin) // tile.block_n) * tile.block_n
    return pairs


class _Shapes:
    """The sizes of a micro-batch's tensors, and the calls that they make."""

    def __init__(self, config: ModelConfig, lengths: Counter[int], masked: int, tiles: Tiles, size: int) -> None:
        self.config, self.masked, self.size = config, masked, size
        self.tokens = sum(length * sequences for length, sequences in lengths.items())
        self.d, self.inner, self.vocabulary = config.hidden_size, config.intermediate_size, config.vocab_size
        self.tiles = {True: tiles[0], False: tiles[1]}
        windows = {True: -1, False: config.window}
        self.pairs = {
            (is_global, name): tile_pairs(lengths, getattr(tiles, name), windows[is_global])
            for is_global, tiles in self.tiles.items()
            for name in ("forward", "dq", "dkdv")
        }

    def layers(self) -> Iterator[tuple[int, bool, bool, int]]:
        """(number, whether it is global, whether it is the last, rows after its attention) of each layer."""
        for layer in range(self.config.num_hidden_layers):
            last = layer == self.config.num_hidden_layers - 1
            yield layer, self.config.is_global(layer), last, self.masked if last else self.tokens

    def rows(self, rows: int, width: int = 0) -> int:
        """Bytes of a matrix of so many rows, as wide as the hidden state unless a width is given."""
        return self.size * rows * (width or self.d)

    def product(self, phase: str, rows: int, inner: int, columns: int, added: int = 0) -> Call:
        """A matrix product of (rows, inner) and (inner, columns); `added` bytes are read and added."""
        where = "layers" if self.tokens in (rows, inner) else "masked rows"
        count = self.size * (rows * inner + inner * columns + rows * columns) + added
        return Call(phase, f"matmuls, {where}", "matrix product", 1, count, 2.0 * rows * inner * columns)

    def products(self, rows: int, inner: int, columns: int) -> Iterator[Call]:
        """Backward of such a product: the gradients of its input and of its weight."""
        yield self.product("backward", rows, columns, inner)
        yield self.product("backward", columns, rows, inner)

    def norm(self, rows: int, update: bool = True) -> Call:
        """A norm, with the sum of stream and update if there is one."""
        count = (4 if update else 2) * self.rows(rows) + 8 * rows
        return Call("forward", "residual + norm" if update else "norm", "memory", 1, count)

    def norm_backward(self, rows: int, stream: bool = True) -> Iterator[Call]:
        """`stream`: the sum goes on, so that it has a gradient too."""
        sums = rows / NORM_ROWS * self.d * 4
        name = "residual + norm" if stream else "norm"
        yield Call("backward", name, "memory", 1, (4 if stream else 3) * self.rows(rows) + sums)
        yield Call("backward", "norm, weight's gradient", "memory", 1, sums)


def _memory(phase: str, name: str, *tensors: float, times: int = 1) -> Call:
    """A call of PyTorch that reads or writes these tensors, in bytes; a small one is only a launch."""
    small = max(tensors) <= 64
    return Call(phase, "scalars" if small else name, "memory", 1, 0 if small else float(times * sum(tensors)))


def _forward(s: _Shapes) -> Iterator[Call]:
    """Embeddings, layers, and the head's rows before the decoder."""
    heads, head_dim = s.config.num_attention_heads, s.config.head_dim
    yield _memory("forward", "embedding", s.rows(s.tokens), times=2)
    yield s.norm(s.tokens, update=False)
    for layer, is_global, last, rows in s.layers():
        if layer:
            yield s.norm(s.tokens)
        yield s.product("forward", s.tokens, s.d, 3 * s.d)
        if not s.tiles[is_global].fused_rope:  # q and k are read and written
            yield Call("forward", "RoPE", "memory", 1, 4 * s.rows(s.tokens))
        name, count = f"attention, {'global' if is_global else 'local'}", 4 * s.rows(s.tokens) + 4 * heads * s.tokens
        flops = 4.0 * head_dim * heads * s.pairs[is_global, "forward"]
        yield Call("forward", name, "attention forward", 1, count, flops)
        if last:  # of the attended rows, and of the stream
            yield _memory("forward", "index_select", s.rows(rows), times=2)
            yield _memory("forward", "index_select", s.rows(rows), times=2)
        yield s.product("forward", rows, s.d, s.d)
        yield s.norm(rows)
        yield s.product("forward", rows, s.d, 2 * s.inner)
        yield Call("forward", "GeGLU", "memory", 1, 3 * s.rows(rows, s.inner))
        yield s.product("forward", rows, s.inner, s.d)
    yield s.norm(s.masked)
    yield s.product("forward", s.masked, s.d, s.d)
    yield _memory("forward", "gelu", s.rows(s.masked), s.rows(s.masked))
    yield s.norm(s.masked, update=False)


def _loss(s: _Shapes) -> Iterator[Call]:
    """The decoder and the cross-entropy, in chunks of rows, with the gradients (kernels/mlm_loss.py)."""
    weight, bias, sums = s.rows(s.vocabulary), s.size * s.vocabulary, 4 * s.vocabulary
    yield _memory("forward", "zeros", 4)
    yield _memory("forward", "zeros_like", s.rows(s.masked), s.rows(s.masked))
    chunk = chunk_rows(s.masked, s.vocabulary, s.size)
    in_fp32 = sums_in_fp32(s.masked, chunk, s.size)
    gradient = 4 * s.vocabulary * s.d if in_fp32 else weight
    yield _memory("forward", "zeros_like", weight, gradient)
    yield _memory("forward", "zeros_like", bias, sums)
    for start in range(0, s.masked, chunk):
        rows = min(chunk, s.masked - start)
        logits = s.rows(rows, s.vocabulary)
        yield s.product("forward", rows, s.d, s.vocabulary, added=bias)
        yield Call("forward", "cross-entropy", "memory", 1, 2 * logits)
        yield _memory("forward", "sum", 4 * rows, 4)
        yield _memory("forward", "copy_", 8 * rows, rows)
        yield _memory("forward", "add_", 4)
        yield s.product("forward", rows, s.vocabulary, s.d)
        yield s.product("forward", s.vocabulary, rows, s.d, added=0 if in_fp32 else weight)
        if in_fp32:
            yield _memory("forward", "add_", gradient, weight, gradient)
        yield _memory("forward", "sum", logits, sums)
        yield _memory("forward", "add_", sums, sums, sums)
    if in_fp32:
        yield _memory("forward", "_to_copy", gradient, weight)
    if s.size != 4:
        yield _memory("forward", "_to_copy", sums, bias)


def _backward(s: _Shapes) -> Iterator[Call]:
    """From the loss to the embeddings; the decoder's gradients exist already and are scaled."""
    heads, head_dim = s.config.num_attention_heads, s.config.head_dim
    yield _memory("backward", "ones_like", 4)
    yield _memory("backward", "zeros", s.masked)
    for gradient in (s.rows(s.masked), s.rows(s.vocabulary), s.size * s.vocabulary):
        if s.size != 4:
            yield _memory("backward", "_to_copy", 4)
        yield _memory("backward", "mul_", gradient, gradient, s.size)
    yield from s.norm_backward(s.masked, stream=False)
    yield _memory("backward", "gelu_backward", *[s.rows(s.masked)] * 3)
    yield from s.products(s.masked, s.d, s.d)
    yield from s.norm_backward(s.masked, stream=False)
    for layer, is_global, last, rows in reversed([*s.layers()]):
        yield from s.products(rows, s.inner, s.d)
        yield Call("backward", "GeGLU", "memory", 1, 5 * s.rows(rows, s.inner))
        yield from s.products(rows, s.d, 2 * s.inner)
        yield from s.norm_backward(rows)
        yield from s.products(rows, s.d, s.d)
        if last:
            for _ in range(2):
                yield _memory("backward", "new_zeros", s.rows(rows), s.rows(s.tokens))
                yield _memory("backward", "index_add", *[s.rows(s.tokens)] * 2, 8 * rows, s.rows(rows))
        count, where = 6 * s.rows(s.tokens) + 8 * heads * s.tokens, "global" if is_global else "local"
        for name, tile, matmuls in (("dQ", "dq", 3), ("dK dV", "dkdv", 4)):
            flops = 2.0 * matmuls * head_dim * heads * s.pairs[is_global, tile]
            yield Call("backward", f"attention {name}, {where}", "attention backward", 1, count, flops)
        yield from s.products(s.tokens, s.d, 3 * s.d)
        if layer:
            yield from s.norm_backward(s.tokens)
        else:  # the first layer reads the embeddings twice
            yield _memory("backward", "add", *[s.rows(s.tokens)] * 3)
    yield from s.norm_backward(s.tokens, stream=False)
    weight = s.rows(s.vocabulary)
    yield Call("backward", "embedding_dense_backward", "memory", 8, 2 * s.rows(s.tokens) + weight)
    yield _memory("backward", "add", weight, weight, weight)  # that of the decoder is of the same weight
