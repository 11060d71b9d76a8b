"""Micro-batches arrive on the device as they were, in one aligned buffer, while the one before is computed."""

from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clinical_modernbert.kernels.packed import ALIGNMENT, PackedBatch
from clinical_modernbert.streaming_data.loader.batches import MicroBatch
from clinical_modernbert.streaming_data.loader.order import PackAddress
from clinical_modernbert.training import copies
from clinical_modernbert.training.copies import DeviceBatch, HostCopy, on_device, stage

CPU = torch.device("cpu")


def micro_batch(lengths: list[int], masked: int = 0, number: int = 0) -> MicroBatch:
    rng = np.random.default_rng(number)
    ids = torch.from_numpy(rng.integers(0, 50_000, sum(lengths)))
    positions = torch.from_numpy(np.sort(rng.permutation(sum(lengths))[:masked]))
    return MicroBatch(
        input_ids=ids,
        lengths=tuple(lengths),
        masked_positions=positions,
        targets=ids[positions] + 1,
        addresses=(PackAddress(0, 0, number),),
        pack_tokens=(sum(lengths),),
        digest=7 + number,
    )


@given(st.lists(st.integers(1, 200), min_size=1, max_size=9), st.integers(0, 99), st.integers(0, 9))
def test_everything_arrives_as_it_was_in_one_aligned_buffer(lengths: list[int], masked: int, words: int) -> None:
    batch, further = micro_batch(lengths, masked), [np.arange(words, dtype=np.int64), np.arange(words) % 2 == 0]
    staged = stage(batch, CPU, further)
    (arrived,) = on_device([staged], CPU)
    for name in ("input_ids", "masked_positions", "targets"):
        assert torch.equal(getattr(arrived, name), getattr(batch, name))
        assert torch.equal(getattr(staged, name), getattr(batch, name))
    for name in ("lengths", "addresses", "pack_tokens", "digest"):
        assert getattr(staged, name) == getattr(batch, name)
    expected = PackedBatch.from_lengths(lengths, CPU)
    for one, other in zip(tensors(arrived.sequences), tensors(expected), strict=True):
        assert torch.equal(one, other)
    assert [array.tolist() for array in arrived.further] == [array.tolist() for array in further]
    everything = [*tensors(arrived.sequences), arrived.input_ids, arrived.masked_positions, arrived.targets]
    assert {tensor.untyped_storage().data_ptr() for tensor in everything} == {staged.staged.buffer.data_ptr()}
    assert {tensor.data_ptr() % ALIGNMENT for tensor in everything if tensor.numel()} == {0}
    assert staged.input_ids.data_ptr() == arrived.input_ids.data_ptr(), "the host has no second copy"


def tensors(batch: PackedBatch) -> list[torch.Tensor]:
    return [batch.cu_seqlens, batch.positions, *batch.tiles.values()]


class Gpu:
    """Records what is asked of CUDA, in order."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.log: list[Any] = []
        self._stream = "compute"
        patch.setattr(copies, "runs_ahead", lambda _: True)
        patch.setattr(copies, "_copy_stream", lambda _: self)
        for name in ("stream", "current_stream", "Event"):
            patch.setattr(torch.cuda, name, getattr(self, name))
        patch.setattr(torch.cuda, "device", lambda _: nullcontext())
        patch.setattr(torch.Tensor, "record_stream", lambda *_: self.log.append("keep the memory"))
        for name in ("empty", "zeros"):
            create = getattr(torch, name)
            patch.setattr(torch, name, lambda *a, pin_memory=False, create=create, **kw: create(*a, **kw))

    @contextmanager
    def stream(self, _: "Gpu") -> Any:
        self._stream = "copies"
        yield
        self._stream = "compute"

    def current_stream(self, _: torch.device) -> "Gpu":
        return self

    def record_event(self) -> "Gpu":
        self.log.append(f"copied on {self._stream}")
        return self

    def wait_event(self, _: "Gpu") -> None:
        self.log.append(f"{self._stream} waits for the copy")

    def Event(self) -> "Gpu":  # noqa: N802, as in torch.cuda
        return self

    def record(self) -> None:
        self.log.append("recorded")

    def synchronize(self) -> None:
        self.log.append("the host waits")

    def query(self) -> bool:
        return False


def test_the_next_batch_is_copied_before_one_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = Gpu(monkeypatch)
    staged = [stage(micro_batch([3, 5], 2, number), CPU) for number in range(3)]
    for batch in on_device(iter(staged), CPU):
        assert isinstance(batch, DeviceBatch)
        gpu.log.append(f"computes {batch.addresses[0].pack}")
    arrival = ["compute waits for the copy", "keep the memory"]
    assert gpu.log == [
        "copied on copies", "copied on copies", *arrival, "computes 0",
        "copied on copies", *arrival, "computes 1",
        *arrival, "computes 2",
    ]  # fmt: skip
    gpu.log.clear()
    assert list(on_device([], CPU)) == []
    (one,) = on_device(staged[:1], CPU)
    assert torch.equal(one.input_ids, staged[0].input_ids)


def test_values_are_copied_without_waiting_and_read_with(monkeypatch: pytest.MonkeyPatch) -> None:
    values = torch.tensor([1.5, 2.0])
    here = HostCopy(values)
    assert here.arrived()
    assert here.read() == [1.5, 2.0]
    gpu = Gpu(monkeypatch)
    copied = HostCopy(values)
    values.zero_()
    assert gpu.log == ["recorded"]
    assert not copied.arrived()
    assert copied.read() == [1.5, 2.0]
    assert gpu.log == ["recorded", "the host waits"]
