"""Copies between host and device for which neither waits.

A micro-batch travels in one buffer. The loader's thread lays it out, in pinned memory if there is a GPU, and the loop
copies it on a stream of its own while the micro-batch before it is computed. Numbers for the host go the other way:
they are copied to pinned memory, and read when the device is past them.

On a CPU the device's memory is the host's: nothing is pinned, and the buffer itself is what the model reads.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from ..kernels.packed import PackedBatch, StagedBatch
from ..streaming_data.loader.batches import MicroBatch
from ..streaming_data.loader.order import PackAddress


@dataclass(frozen=True)
class StagedMicroBatch(MicroBatch):
    """A micro-batch ready to be copied to a device. Its tensors are views of the buffer that is copied."""

    staged: StagedBatch = field(kw_only=True)


@dataclass(frozen=True)
class DeviceBatch:
    """What the model needs of a micro-batch, on its device; attributes as in `MicroBatch`.

    Attributes:
        sequences: the lengths, as the layers need them.
        further: the arrays that were staged with it.
    """

    addresses: tuple[PackAddress, ...]
    input_ids: torch.Tensor
    sequences: PackedBatch
    masked_positions: torch.Tensor
    targets: torch.Tensor
    further: tuple[torch.Tensor, ...]
    causal: bool


def runs_ahead(device: torch.device) -> bool:
    """Whether the host queues work for `device` and runs ahead of it, as it does with a GPU."""
    return device.type == "cuda"


def stage(batch: MicroBatch, device: torch.device, further: Sequence[np.ndarray] = ()) -> StagedMicroBatch:
    """Lay out a micro-batch, and further arrays, for the copy to `device`. Any thread may call it."""
    arrays = [tensor.numpy() for tensor in (batch.input_ids, batch.masked_positions, batch.targets)]
    with _current(device):
        staged = StagedBatch.of(batch.lengths, [*arrays, *further], pin=runs_ahead(device))
    _, (input_ids, masked_positions, targets, *_) = staged.to(torch.device("cpu"))
    return StagedMicroBatch(
        input_ids=input_ids,
        lengths=batch.lengths,
        masked_positions=masked_positions,
        targets=targets,
        addresses=batch.addresses,
        pack_tokens=batch.pack_tokens,
        digest=batch.digest,
        causal=batch.causal,
        staged=staged,
    )


def on_device(batches: Iterable[StagedMicroBatch], device: torch.device) -> Iterator[DeviceBatch]:
    """Yield each micro-batch on `device`. The next one is copied while this one is computed."""
    if not runs_ahead(device):
        for batch in batches:
            yield _copy(batch, device)[0]
        return
    stream, coming = _copy_stream(device), None
    for batch in batches:
        with torch.cuda.stream(stream):
            following = (*_copy(batch, device), stream.record_event())
        if coming is not None:
            yield _arrived(*coming)
        coming = following
    if coming is not None:
        yield _arrived(*coming)


def _copy(batch: StagedMicroBatch, device: torch.device) -> tuple[DeviceBatch, torch.Tensor]:
    """The micro-batch on `device`, and a tensor in whose memory all of it lies."""
    sequences, (input_ids, masked_positions, targets, *further) = batch.staged.to(device)
    copied = DeviceBatch(batch.addresses, input_ids, sequences, masked_positions, targets, tuple(further), batch.causal)
    return copied, sequences.cu_seqlens


def _arrived(batch: DeviceBatch, memory: torch.Tensor, copied: Any) -> DeviceBatch:
    """The batch, for the stream that computes: it waits for the copy, and the memory is not used again before it."""
    stream = torch.cuda.current_stream(memory.device)
    stream.wait_event(copied)
    memory.record_stream(stream)
    return batch


@lru_cache
def _copy_stream(device: torch.device) -> Any:
    return torch.cuda.Stream(device)


def _current(device: torch.device) -> AbstractContextManager[Any]:
    """Pinning memory needs a context of CUDA, and a thread's is that of the first GPU, not that of the rank's."""
    return torch.cuda.device(device) if runs_ahead(device) else nullcontext()


class HostCopy:
    """The values of a tensor (n,) on the host. It does not wait for the device; `read` does."""

    def __init__(self, values: torch.Tensor) -> None:
        self._arrived: Any = None
        if runs_ahead(values.device):
            host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
            values = host.copy_(values, non_blocking=True)
            self._arrived = torch.cuda.Event()
            self._arrived.record()
        self._values = values

    def arrived(self) -> bool:
        """Whether `read` would not wait."""
        return self._arrived is None or bool(self._arrived.query())

    def read(self) -> list[Any]:
        if self._arrived is not None:
            self._arrived.synchronize()
        values: list[Any] = self._values.tolist()
        return values
