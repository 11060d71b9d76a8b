"""The roofline of a micro-batch: what each operation computes, reads and writes, counted without a GPU.

The model runs once, forward and backward, on tensors without content (torch's "meta" device), with the operators that
a GPU would be asked to run. For each call the bytes of its tensors and its FLOPs are added up; the Triton operators,
which are one call each, are counted by hand from their sources. Rereads that a cache serves are not counted.

A device's floor is the sum over all calls of max(bytes / bandwidth, FLOPs / peak). No implementation of these
operations is faster; fusing them differently may be.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ...configs.errors import UserError
from ...kernels.attention.tile_sizes import Tile, Tuning, tuning
from ...kernels.norm_triton import ROWS
from ...kernels.packed import PackedBatch
from ...model.config import ModelConfig
from ...model.masked_lm import MaskedLM
from ..recipe.config import EngineConfig
from ..zero.partition import PRECISION_BYTES, parameter_sizes, stays_gathered
from .hardware import Gpu

ASSUMED = {"memory": 0.9, "matrix product": 0.7, "attention forward": 0.4, "attention backward": 0.35}
"""Shares of the bandwidth and of the peak that well-made kernels reach: assumed, from figures published for H100s."""
UPDATE_BYTES = 36
"""Bytes that StableAdamW reads and writes per weight (kernels/stable_adamw.py)."""
GRADIENT_BYTES = {0: 12, 1: 24, 2: 50, 3: 50}
"""Bytes per weight and micro-batch with which DeepSpeed copies and adds gradients, by ZeRO stage.

Stages 1 and 3 were counted on a CPU (20 to 28, and 48 to 52); 2 is taken as 3; 0 adds fp32 gradients.
"""
HOST_SECONDS = 23e-6
"""CPU time per launch: 16 ms for the 685 launches of a base model, measured on one core without ZeRO."""
HOST_FACTOR = {0: 1.0, 1: 1.1, 2: 1.3, 3: 3.0}
"""That time by ZeRO stage relative to none, measured on a CPU (medians of benchmarks/host_cost.py)."""
HOST_FACTOR_GATHERED = 1.5
"""The same for ZeRO-3 that keeps its weights gathered."""
_VIEWS = (
    "view", "_unsafe_view", "reshape", "flatten", "t", "transpose", "permute", "slice", "select", "expand", "squeeze",
    "unsqueeze", "as_strided", "alias", "detach", "split", "split_with_sizes", "unbind", "lift_fresh",
)  # fmt: skip
_NO_LAUNCH = (*_VIEWS, "empty", "empty_like", "new_empty", "empty_strided")


@dataclass(frozen=True)
class Call:
    """A call of an operator, or all calls of the update.

    Attributes:
        phase: forward, backward or update.
        kind: a key of ASSUMED.
        bytes: read and written.
    """

    phase: str
    name: str
    kind: str
    launches: int
    bytes: float
    flops: float = 0.0

    def floor(self, gpu: Gpu) -> float:
        """Seconds at the device's bandwidth and peak."""
        return max(self.bytes / gpu.bandwidth, self.flops / gpu.peak)

    def expected(self, gpu: Gpu) -> float:
        """Seconds at the assumed shares of them."""
        memory = self.bytes / (ASSUMED["memory"] * gpu.bandwidth)
        return max(memory, self.flops / (ASSUMED[self.kind] * gpu.peak))


@dataclass(frozen=True)
class Operation:
    """All calls of one operator in a phase. `floor` and `expected` are seconds."""

    phase: str
    name: str
    launches: int
    bytes: float
    flops: float
    floor: float
    expected: float


@dataclass(frozen=True)
class Times:
    """Seconds of one rank on its device, and on its host.

    Attributes:
        floor: of a micro-batch, at the device's bandwidth and peak.
        expected: of a micro-batch, at the assumed shares of them.
        host: CPU time to launch a micro-batch, hidden while it is below the device's.
        update: of the optimizer, once per step, floor and expected.
    """

    floor: float
    expected: float
    host: float
    update: tuple[float, float]


def times(config: ModelConfig, engine: EngineConfig, operations: Iterable[Operation]) -> Times:
    """Add up the operations of `roofline`."""
    batch, update = [[o for o in operations if (o.phase == "update") == last] for last in (False, True)]
    gathered = engine.stage == 3 and stays_gathered(engine, max(parameter_sizes(config)))
    factor = HOST_FACTOR_GATHERED if gathered else HOST_FACTOR[engine.stage]
    return Times(
        floor=sum(o.floor for o in batch),
        expected=sum(o.expected for o in batch),
        host=sum(o.launches for o in batch) * HOST_SECONDS * factor,
        update=(sum(o.floor for o in update), sum(o.expected for o in update)),
    )


def roofline(
    config: ModelConfig,
    engine: EngineConfig,
    lengths: Sequence[int],
    masked: int,
    gpu: Gpu,
    ranks: int = 1,
    strict: bool = True,
    causal: bool = False,
) -> list[Operation]:
    """The operations of a micro-batch and of the update of one rank, the longest first.

    Args:
        lengths: tokens of each sequence of the micro-batch.
        masked: tokens of it that pass through the head.
        strict: refuse a device for which there are no kernels, instead of counting those of another one.
        causal: whether they predict the next token, so that `masked` counts the tokens that have one.
    Raises:
        UserError: there are no Triton kernels for this device or head size.
    """
    size = PRECISION_BYTES[engine.precision]
    calls = count_calls(config, lengths, masked, gpu.architecture, size, strict, causal)
    weights = config.num_parameters
    calls.append(Call("backward", "ZeRO's gradients", "memory", 0, GRADIENT_BYTES[engine.stage] * weights))
    shared = ranks if engine.stage else 1
    calls.append(Call("update", "StableAdamW", "memory", 0, UPDATE_BYTES * weights / shared))
    groups: dict[tuple[str, str], list[Call]] = defaultdict(list)
    for call in calls:
        groups[call.phase, call.name].append(call)
    operations = [
        Operation(
            phase,
            name,
            launches=sum(call.launches for call in group),
            bytes=sum(call.bytes for call in group),
            flops=sum(call.flops for call in group),
            floor=sum(call.floor(gpu) for call in group),
            expected=sum(call.expected(gpu) for call in group),
        )
        for (phase, name), group in groups.items()
    ]
    return sorted(operations, key=lambda operation: -operation.expected)


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
        architecture: a key of the tables in `kernels/attention/tile_sizes.py`.
        size: bytes of a value.
        strict, causal: as for `roofline`.
    Raises:
        UserError: there are no Triton kernels for this architecture or head size.
    """
    try:
        tiles = [tuning(architecture, config.head_dim, 8 * size, local) for local in (False, True)]
    except KeyError as error:
        if strict:
            raise UserError(
                f"no Triton kernels for {architecture} and heads of {config.head_dim}, so that they cannot be counted: "
                "choose another --gpu"
            ) from error
        config = config.model_copy(update={"num_attention_heads": max(1, config.hidden_size // 64)})
        tiles = [tuning("sm80", 64, 16, local) for local in (False, True)]
    meta = torch.device("meta")
    model = MaskedLM(config).to(meta, {2: torch.bfloat16, 4: torch.float32}[size])
    tokens = sum(lengths)
    ids, positions = (torch.zeros(n, dtype=torch.int64, device=meta) for n in (tokens, masked))
    batch = PackedBatch.from_lengths(lengths, meta)
    with _Counter(lengths, *tiles) as counter:
        loss = model(ids, batch, positions, positions, causal=causal)[0]
        counter.phase = "backward"
        loss.backward()
    return counter.calls


class _Counter(TorchDispatchMode):
    """Records the calls below autograd, which a device would be asked to run."""

    def __init__(self, lengths: Sequence[int], for_global: Tuning, for_local: Tuning) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.phase = "forward"
        self._lengths, self._global, self._local = lengths, for_global, for_local

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

    def _pairs(self, tile: Tile, window: int, causal: bool) -> float:
        """Pairs of query and key in all tiles that one head computes."""
        pairs = 0
        for length in self._lengths:
            for first in range(0, length, tile.block_m):
                begin, end = 0, length
                if window >= 0:
                    begin = max(first - window, 0) // tile.block_n * tile.block_n
                    end = min(first + tile.block_m + window, length)
                if causal:
                    end = min(first + tile.block_m, length)
                pairs += tile.block_m * -(-(end - begin) // tile.block_n) * tile.block_n
        return float(pairs)

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
