"""The roofline of a micro-batch: what each operation computes, reads and writes, counted without a GPU.

`calls.py` counts the calls. A device's floor is the sum over all of them of max(bytes / bandwidth, FLOPs / peak). No
implementation of these operations is faster; fusing them differently may be.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...model.config import ModelConfig
from ..recipe.config import MuonConfig, OptimizerConfig
from ..recipe.engine_config import EngineConfig
from ..zero.matrices import NEWTON_SCHULZ_STEPS, hidden_elements, hidden_matrices, iteration_flops, row_blocks
from ..zero.partition import PRECISION_BYTES, parameter_sizes, stays_gathered
from .calls import Call, count_calls
from .devices import Gpu

ASSUMED = {"memory": 0.9, "matrix product": 0.7, "attention forward": 0.4, "attention backward": 0.35}
"""Shares of the bandwidth and of the peak that well-made kernels reach: assumed, from figures published for H100s."""
UPDATE_BYTES = 36
"""Bytes that StableAdamW reads and writes per weight (kernels/stable_adamw.py)."""
MUON_BYTES = 54
"""Bytes that Muon reads and writes per weight, in addition to the products of Newton-Schulz."""
MUON_LAUNCHES = 22
"""Launches of Muon per matrix: 15 products, and operations on single elements (training/zero/muon.py)."""
GRADIENT_BYTES = {0: 12, 1: 10, 2: 50, 3: 50}
"""Bytes per weight and micro-batch with which DeepSpeed copies and adds gradients, by ZeRO stage.

Stage 1 adds a bf16 gradient to its fp32 sum; 3 was counted on a CPU (48 to 52); 2 is taken as 3; 0 adds fp32 gradients.
"""
HOST_SECONDS = 23e-6
"""CPU time per launch: 16 ms for the 685 launches of a base model, measured on one core without ZeRO."""
HOST_FACTOR = {0: 1.0, 1: 1.1, 2: 1.3, 3: 2.6}
"""That time by ZeRO stage relative to none, measured on a CPU (medians of benchmarks/host_cost.py)."""
HOST_FACTOR_GATHERED = 1.5
"""The same for ZeRO-3 that keeps its weights gathered."""


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
        update: of the optimizer, once per step, floor and expected; expected is at least the CPU time to launch it.
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
        update=(
            sum(o.floor for o in update),
            max(sum(o.expected for o in update), sum(o.launches for o in update) * HOST_SECONDS),
        ),
    )


def roofline(
    config: ModelConfig,
    engine: EngineConfig,
    lengths: Sequence[int],
    masked: int,
    gpu: Gpu,
    ranks: int = 1,
    strict: bool = True,
    optimizer: OptimizerConfig | None = None,
    causal: bool = False,
) -> list[Operation]:
    """The operations of a micro-batch and of the update of one rank, the longest first.

    Args:
        lengths: tokens of each sequence of the micro-batch.
        masked: tokens of it that pass through the head.
        strict: refuse a device for which there are no kernels, instead of counting those of another one.
        optimizer: None: StableAdamW.
        causal: whether they predict the next token, so that `masked` counts the tokens that have one.
    Raises:
        UserError: there are no Triton kernels for this device or head size.
    """
    size = PRECISION_BYTES[engine.precision]
    calls = count_calls(config, lengths, masked, gpu.architecture, size, strict, causal)
    weights = config.num_parameters
    calls.append(Call("backward", "ZeRO's gradients", "memory", 0, GRADIENT_BYTES[engine.stage] * weights))
    shared = ranks if engine.stage else 1
    if optimizer is not None and optimizer.name == "muon":
        weights -= hidden_elements(config)
        calls += _muon(config, optimizer.muon, shared)
    calls.append(Call("update", "StableAdamW", "memory", 0, UPDATE_BYTES * weights / shared))
    return operations_of(calls, gpu)


def operations_of(calls: Iterable[Call], gpu: Gpu) -> list[Operation]:
    """The calls of each operator in each phase together, on a device, the longest first."""
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
            floor=sum(_floor(call, gpu) for call in group),
            expected=sum(_expected(call, gpu) for call in group),
        )
        for (phase, name), group in groups.items()
    ]
    return sorted(operations, key=lambda operation: -operation.expected)


def _muon(config: ModelConfig, muon: MuonConfig, shared: int) -> list[Call]:
    """Muon's part of the update of one of `shared` ranks, between which the matrices are dealt."""
    size, products, flops, launches = PRECISION_BYTES[muon.dtype], 0.0, 0.0, 0
    for name, (rows, columns) in hidden_matrices(config).items():
        blocks = row_blocks(name, muon.split_fused)
        block = rows // blocks, columns
        # Each step reads the matrix three times and writes it once, and the same for its Gram matrix, and one more.
        products += blocks * NEWTON_SCHULZ_STEPS * size * (4 * rows // blocks * columns + 5 * min(block) ** 2)
        flops += blocks * iteration_flops(*block)
        launches += MUON_LAUNCHES
    return [
        Call("update", "Muon", "memory", 0, MUON_BYTES * hidden_elements(config) / shared),
        Call("update", "Newton-Schulz", "matrix product", -(-launches // shared), products / shared, flops / shared),
    ]


def _floor(call: Call, gpu: Gpu) -> float:
    """Seconds at the device's bandwidth and peak."""
    return max(call.bytes / gpu.bandwidth, call.flops / gpu.peak)


def _expected(call: Call, gpu: Gpu) -> float:
    """Seconds at the assumed shares of them."""
    memory = call.bytes / (ASSUMED["memory"] * gpu.bandwidth)
    return max(memory, call.flops / (ASSUMED[call.kind] * gpu.peak))
