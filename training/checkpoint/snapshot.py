"""A copy of a rank's state in host memory, which is written to the disk while training continues."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from ...storage.files import fsync, hash_file
from ..zero.engine import optimizer_state
from ..zero.parameter_shards import ParameterShard, shards_to_save
from ..zero.running_average import running_average
from .manifest import FileEntry
from .shard_reader import AVERAGE, WEIGHTS


@dataclass(frozen=True)
class Snapshot:
    """What a rank's file of a checkpoint holds.

    Attributes:
        tensors: in host memory, by `<parameter>/fp32`, `<parameter>/average` if the run has a running average, and
            `<parameter>/<name of the optimizer's state>`; fp32 (numel,).
        layout: of each parameter, the start of the shard, its elements, and the shape of the whole parameter.
    """

    tensors: dict[str, torch.Tensor]
    layout: dict[str, tuple[int, int, tuple[int, ...]]]


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


def write_snapshot(snapshot: Snapshot, file: Path) -> dict[str, FileEntry]:
    """Write the file, wait until it has reached the disk, and return its entry in the manifest."""
    save_file(snapshot.tensors, file, metadata={"layout": json.dumps(snapshot.layout)})
    fsync(file)
    return {file.name: FileEntry(bytes=file.stat().st_size, xxh3_128=hash_file(file))}


def _host_buffer(value: torch.Tensor) -> torch.Tensor:
    # From pinned memory a GPU is read several times faster.
    return torch.empty(value.shape, dtype=value.dtype, pin_memory=value.is_cuda)


def _values(engine: Any, shard: ParameterShard) -> Iterator[tuple[str, torch.Tensor]]:
    yield WEIGHTS, shard.view_in(shard.flat)
    if average := running_average(engine):
        yield AVERAGE, average.view(shard)
    yield from optimizer_state(engine, shard).items()
