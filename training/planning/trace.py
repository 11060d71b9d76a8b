"""The calls of a micro-batch, recorded while the model runs on tensors without content.

The model runs once, forward and backward, on torch's "meta" device, with the operators that a GPU would be asked to
run. For each call the bytes of its tensors and its FLOPs are added up; the Triton operators, which are one call each,
are counted by hand from their sources. Rereads that a cache serves are not counted.

`calls.py` has the same numbers as arithmetic, without torch, for masked tokens and models without dropout; a test
compares the two.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ...kernels.attention.tile_sizes import Tile, Tuning
from ...kernels.norm_triton import ROWS
from ...kernels.packed import PackedBatch
from ...model.config import ModelConfig
from ...model.masked_lm import MaskedLM
from .calls import Call, Tiles, tile_pairs

_VIEWS = (
    "view", "_unsafe_view", "reshape", "flatten", "t", "transpose", "permute", "slice", "select", "expand", "squeeze",
    "unsqueeze", "as_strided", "alias", "detach", "split", "split_with_sizes", "unbind", "lift_fresh",
)  # fmt: skip
_NO_LAUNCH = (*_VIEWS, "empty", "empty_like", "new_empty", "empty_strided")


def trace_calls(
    config: ModelConfig, lengths: Sequence[int], masked: int, tiles: Tiles, size: int, causal: bool = False
) -> list[Call]:
    """The calls of forward and backward; arguments as for `calls.count_calls`."""
    meta = torch.device("meta")
    with meta:  # the decoder stays tied, and no random weights are drawn
        model = MaskedLM(config).to({2: torch.bfloat16, 4: torch.float32}[size])
    tokens = sum(lengths)
    ids, positions = (torch.zeros(n, dtype=torch.int64, device=meta) for n in (tokens, masked))
    batch = PackedBatch.from_lengths(lengths, meta)
    with _Recorder(lengths, tiles) as recorder:
        loss = model(ids, batch, positions, positions, causal=causal)[0]
        recorder.phase = "backward"
        loss.backward()
    return recorder.calls


class _Recorder(TorchDispatchMode):
    """Records the calls below autograd, which a device would be asked to run."""

    def __init__(self, lengths: Sequence[int], tiles: Tiles) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.phase = "forward"
        self._lengths, (self._global, self._local) = lengths, tiles

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func._schema.name.partition("::")[2]
        if func.namespace == "clinical_modernbert":
            count = getattr(self, name.strip("_"), None)
            count(args, out) if count else self._plain(func, name, args, kwargs or {}, out)
        elif name not in _NO_LAUNCH and name.rstrip("_") not in _NO_LAUNCH:
            self._plain(func, name, args, kwargs or {}, out)
        return out

    def _add(self, name: str, count: float, kind: str = "memory", flops: float = 0.0, launches: int = 1) -> None:
        self.calls.append(Call(self.phase, name, kind, launches, count, flops))

    def _plain(self, func: Any, name: str, args: Any, kwargs: Any, out: Any) -> None:
        """An operator of PyTorch: it reads its arguments and writes its results."""
        read, results = _tensors((args, kwargs)), _tensors(out)
        arguments = zip(func._schema.arguments, args, strict=False)
        changed = [x for argument, x in arguments if argument.alias_info is not None and argument.alias_info.is_write]
        written = _tensors([changed, kwargs.get("out")])
        if name in ("copy_", "zero_", "fill_", "mm"):  # overwritten without being read
            read = [x for x in read if not any(x is y for y in written)]
        count = _bytes(read) + _bytes(written or results)
        if max(map(_bytes, ([x] for x in [*read, *results])), default=0) <= 64:
            self._add("scalars", 0)
        elif name in ("mm", "addmm", "addmm_"):
            left, right = args[-2:]
            rows, inner = left.shape
            where = "layers" if sum(self._lengths) in (rows, inner) else "masked rows"
            self._add(f"matmuls, {where}", count, "matrix product", 2.0 * rows * inner * right.shape[1])
        elif name in ("embedding", "index_select"):  # only the selected rows are read
            self._add(name, 2 * _bytes(results))
        elif name == "embedding_dense_backward":  # zeros, sort by id, segments, sum
            self._add(name, 2 * _bytes([args[0]]) + _bytes(results), launches=8)
        else:
            self._add(name, count)

    # The operators of `kernels`, as their Triton sources read and write.

    def attention_rotate(self, args: Any, out: Any) -> None:
        qkv, window = args[0], args[-2]
        if not self._tiles(window).fused_rope:  # q and k are read and written
            self._add("RoPE", 2 * _bytes([qkv]) * 2 / 3)

    def attention(self, args: Any, out: Any) -> None:
        qkv, window, causal = args[0], args[-4], args[-2]
        unit, where, tiles = self._attention(qkv, window)
        flops = 4 * qkv.shape[-1] * qkv.shape[-2] * self._pairs(tiles.forward, window, causal)
        self._add(f"attention, {where}", 4 * unit + _bytes([out[1]]), "attention forward", flops)

    def attention_backward(self, args: Any, out: Any) -> None:
        qkv, window, causal = args[1], args[-4], args[-2]
        unit, where, tiles = self._attention(qkv, window)
        for name, tile, matmuls in (("dQ", tiles.dq, 3), ("dK dV", tiles.dkdv, 4)):
            flops = 2 * matmuls * qkv.shape[-1] * qkv.shape[-2] * self._pairs(tile, window, causal)
            self._add(f"attention {name}, {where}", 6 * unit + 2 * _bytes([args[3]]), "attention backward", flops)

    def _attention(self, qkv: Any, window: int) -> tuple[float, str, Tuning]:
        """(bytes of q, name of the kind of layer, its tiles)."""
        return _bytes([qkv]) / 3, "global" if window < 0 else "local", self._tiles(window)

    def _tiles(self, window: int) -> Tuning:
        return self._global if window < 0 else self._local

    def _pairs(self, tile: Tile, window: int, causal: bool) -> int:
        return tile_pairs(Counter(self._lengths), tile, window, causal)

    def add_layer_norm(self, args: Any, out: Any) -> None:
        residual, x = args[:2]
        passes = 2 if residual is None else 4
        self._add("norm" if residual is None else "residual + norm", passes * _bytes([x]) + 2 * _bytes([out[2]]))

    def add_layer_norm_backward(self, args: Any, out: Any) -> None:
        grad_total, total = args[0], args[2]
        partial_sums = total.shape[0] / ROWS * total.shape[1] * 4
        passes = 3 if grad_total is None else 4
        self._add("norm" if grad_total is None else "residual + norm", passes * _bytes([total]) + partial_sums)
        self._add("norm, weight's gradient", partial_sums)

    def geglu(self, args: Any, out: Any) -> None:
        self._add("GeGLU", _bytes([args[0], out]))

    def geglu_backward(self, args: Any, out: Any) -> None:
        self._add("GeGLU", _bytes([args[0], args[1], out]))

    def cross_entropy(self, args: Any, out: Any) -> None:
        self._add("cross-entropy", 2 * _bytes([args[0]]))


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def _bytes(tensors: Iterable[torch.Tensor]) -> float:
    return float(sum(tensor.numel() * tensor.element_size() for tensor in tensors))
