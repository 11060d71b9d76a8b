"""A copy of a rank's state in host memory, which is written to the disk while training continues."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..zero.engine import optimizer_state
from ..zero.parameter_shards import ParameterShard, shards_to_save
from ..zero.running_average import running_average
from .layout import BYTES, Held, Layout, TensorFile, parameter_of
from .shard_reader import AVERAGE, WEIGHTS


@dataclass(frozen=True)
class Snapshot:
    """What a rank writes into a file of a checkpoint.

    Attributes:
        tensors: in host memory, by `<parameter>/fp32`, `<parameter>/average` if the run has a running average, and
            `<parameter>/<name of the optimizer's state>`; fp32 (numel,).
        layout: of each parameter, the start of the shard, its elements, and the shape of the whole parameter.
    """

    tensors: dict[str, torch.Tensor]
    layout: Layout

    def held(self) -> Held:
        """What this rank holds, without the values."""
        return Held(self.layout, tuple(self.tensors))


@torch.no_grad()
def copy_to_host(engine: Any, previous: Snapshot | None = None) -> Snapshot:
    """Copy this rank's state. On return training may change it.

    Args:
        previous: its memory is overwritten, so that a run keeps one copy however often it saves.
    """
    buffers, tensors, layout = previous.tensors if previous else {}, {}, {}
    for shard in shards_to_save(engine):
        layout[shard.name] = (shard.start, shard.numel, shard.shape)
        for key, value in _values(engine, shard):
            name = f"{shard.name}/{key}"
            tensors[name] = buffers[name] if name in buffers else _host_buffer(value)
            tensors[name].copy_(value, non_blocking=True)
    if torch.cuda.is_available():
        torch.cuda.current_stream().synchronize()
    return Snapshot(tensors, layout)


def write_snapshot(snapshot: Snapshot, file: Path, planned: TensorFile) -> None:
    """Write this rank's part of a file, and wait until it has reached the disk. Other ranks write theirs meanwhile."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT, 0o666)
    try:
        os.ftruncate(descriptor, planned.size)
        _write(descriptor, planned.head, 0)  # the same from every rank
        for name, values in snapshot.tensors.items():
            assert values.dtype == torch.float32, f"{name} is {values.dtype}"
            parameter = parameter_of(name)
            before = snapshot.layout[parameter][0] - planned.layout[parameter][0]
            _write(descriptor, values.numpy(), planned.positions[name] + before * BYTES)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(descriptor: int, content: Any, position: int) -> None:
    left = memoryview(content).cast("B")
    while left:
        written = os.pwrite(descriptor, left, position)
        left, position = left[written:], position + written


def _host_buffer(value: torch.Tensor) -> torch.Tensor:
    # From pinned memory a GPU is read several times faster.
    return torch.empty(value.shape, dtype=value.dtype, pin_memory=value.is_cuda)


def _values(engine: Any, shard: ParameterShard) -> Iterator[tuple[str, torch.Tensor]]:
    yield WEIGHTS, shard.view_in(shard.flat)
    if average := running_average(engine):
        yield AVERAGE, average.view(shard)
    yield from optimizer_state(engine, shard).items()
