"""Micro-batches against their packs: nothing is lost, repeated or different at another world size."""

import dataclasses
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_data import PAD, SEQ_LENGTH, write_small_data
from unshared_nodes import can_mount

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.storage.background import Background
from clinical_modernbert.streaming_data.loader.batches import MicroBatch, StepData, cut, load, rank_micro_batches
from clinical_modernbert.streaming_data.loader.config import DataConfig
from clinical_modernbert.streaming_data.loader.dataset import PackDataset, open_dataset
from clinical_modernbert.streaming_data.loader.lanes import LaneOrder
from clinical_modernbert.streaming_data.loader.masking import mask
from clinical_modernbert.streaming_data.loader.order import Order, PackAddress
from clinical_modernbert.streaming_data.shards.pack import Pack

Row = tuple[bytes, bytes, bytes, tuple[int, ...]]
EPOCH = 75  # packs of the small data set


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PackDataset:
    path = write_small_data(tmp_path_factory.mktemp("data"))
    return open_dataset(DataConfig(path=str(path), seq_length=SEQ_LENGTH), seed=3)


def rows(batch: MicroBatch) -> dict[PackAddress, Row]:
    """The part of the micro-batch of each of its packs: input, masked positions, targets and lengths."""
    ends = np.cumsum(batch.lengths)
    assert ends[-1] == len(batch.input_ids) == len(batch.addresses) * SEQ_LENGTH
    result = {}
    for row, address in enumerate(batch.addresses):
        low, high = row * SEQ_LENGTH, (row + 1) * SEQ_LENGTH
        own = (batch.masked_positions >= low) & (batch.masked_positions < high)
        lengths = np.array(batch.lengths)[(ends > low) & (ends <= high)]
        assert lengths.sum() == SEQ_LENGTH  # no sequence crosses from one pack to the next
        result[address] = (
            batch.input_ids[low:high].numpy().tobytes(),
            (batch.masked_positions[own] - low).numpy().tobytes(),
            batch.targets[own].numpy().tobytes(),
            tuple(lengths.tolist()),
        )
    return result


def step_of(dataset: PackDataset, step: StepData, micro_batch_size: int, world_size: int) -> dict[PackAddress, Row]:
    """One step over all ranks; fails if a pack occurs twice or ranks have different numbers of micro-batches."""
    everything: dict[PackAddress, Row] = {}
    counts = set()
    for rank in range(world_size):
        batches = rank_micro_batches(dataset, step, micro_batch_size, rank, world_size)
        counts.add(len(batches))
        for batch in batches:
            assert len(batch.addresses) <= micro_batch_size
            if not batch.addresses:
                assert_fills(batch, dataset)
                continue
            packs = rows(batch)
            assert not everything.keys() & packs.keys()
            everything.update(packs)
    assert len(counts) == 1
    return everything


def assert_fills(batch: MicroBatch, dataset: PackDataset) -> None:
    """A micro-batch without packs is short, predicts nothing and counts nothing."""
    assert set(batch.input_ids.tolist()) == {dataset.vocabulary.pad_id}
    assert sum(batch.lengths) == len(batch.input_ids) <= 16
    assert len(batch.targets) == len(batch.masked_positions) == len(batch.pack_tokens) == batch.digest == 0


@given(st.lists(st.integers(0, 100), max_size=20), st.integers(1, 110))
@settings(max_examples=200, deadline=None)
def test_splitting_keeps_the_tokens_and_bounds_the_lengths(lengths: list[int], longest: int) -> None:
    expected = []
    for length in lengths:
        while length > longest:
            expected.append(longest)
            length -= longest
        if length:
            expected.append(length)
    assert cut(np.array(lengths, np.int32), longest).tolist() == expected
    assert sum(expected) == sum(lengths)


@pytest.mark.parametrize("world_size", [1, 2, 3, 4, 6])
@pytest.mark.parametrize("micro_batch_size", [1, 2])
def test_a_step_is_the_same_at_any_world_size(dataset: PackDataset, world_size: int, micro_batch_size: int) -> None:
    for number in range(5):
        step = StepData(number * 24, 24, SEQ_LENGTH, 0.3)
        together = step_of(dataset, step, micro_batch_size, world_size)
        assert together == step_of(dataset, step, 24, 1)
        assert Counter([*together]) == Counter(dataset.order.between(step.start, step.start + step.packs))


@pytest.mark.parametrize("lanes", [True, False], ids=["lanes", "windows"])
def test_ranks_that_do_not_divide_a_step_share_it_in_equally_many_micro_batches(
    dataset: PackDataset, lanes: bool
) -> None:
    assert isinstance(dataset.order, Order)
    ordered = dataclasses.replace(dataset, order=LaneOrder(dataset.order, 8)) if lanes else dataset
    for packs, micro_batch_size, ranks in [(4, 1, 3), (5, 2, 1), (5, 2, 3), (7, 3, 2), (7, 1, 5), (9, 4, 2), (7, 2, 7)]:
        step = StepData(packs, packs, SEQ_LENGTH, 0.3)
        case = f"{packs} packs on {ranks} ranks"
        assert step_of(ordered, step, micro_batch_size, ranks) == step_of(ordered, step, packs, 1), case
        for rank in range(ranks):
            sizes = [len(one.addresses) for one in rank_micro_batches(ordered, step, micro_batch_size, rank, ranks)]
            assert len(sizes) == math.ceil(math.ceil(packs / ranks) / micro_batch_size), case
            assert max(sizes) - min(sizes) <= 1, case
            assert sum(sizes) in (packs // ranks, math.ceil(packs / ranks)), case


def test_every_token_of_every_pack_occurs_once_per_epoch(dataset: PackDataset) -> None:
    seen = Counter[tuple[int, int]]()
    for number in range(EPOCH // 5):
        for rank in range(5):
            for batch in rank_micro_batches(dataset, StepData(number * 5, 5, SEQ_LENGTH, 0.3), 1, rank, 5):
                ((source, epoch, pack),) = batch.addresses
                assert epoch == 0
                seen[source, pack] += 1
                written = dataset.readers[source][pack].tokens
                restored = batch.input_ids.clone()
                restored[batch.masked_positions] = batch.targets
                np.testing.assert_array_equal(restored[: len(written)], written)
                assert (restored[len(written) :] == PAD).all()
                assert batch.pack_tokens == (len(written),)
    assert seen == {(0, pack): 1 for pack in range(60)} | {(1, pack): 1 for pack in range(15)}


def test_masks_depend_only_on_the_packs(dataset: PackDataset) -> None:
    (batch,) = rank_micro_batches(dataset, StepData(20, 4, SEQ_LENGTH, 0.15), 4, 0, 1)
    packs = rows(batch)
    for address in batch.addresses:
        alone = mask(dataset.read(address).tokens, 0.15, dataset.vocabulary, 3, *address)
        assert packs[address][1:3] == (alone.positions.tobytes(), alone.targets.tobytes())
    for name, dtype in (("input_ids", torch.int64), ("masked_positions", torch.int64), ("targets", torch.int64)):
        assert getattr(batch, name).dtype == dtype
    assert (batch.masked_positions.diff() > 0).all()


@pytest.mark.parametrize("longest", [1, 7, 64, 200])
def test_a_shorter_stage_only_adds_boundaries(dataset: PackDataset, longest: int) -> None:
    whole = rank_micro_batches(dataset, StepData(8, 8, SEQ_LENGTH, 0.3), 4, 1, 2)
    short = rank_micro_batches(dataset, StepData(8, 8, longest, 0.3), 4, 1, 2)
    for one, other in zip(whole, short, strict=True):
        for name in ("input_ids", "masked_positions", "targets"):
            assert torch.equal(getattr(one, name), getattr(other, name))
        assert (one.pack_tokens, one.addresses) == (other.pack_tokens, other.addresses)
        assert sum(other.lengths) == sum(one.lengths)
        assert max(other.lengths) <= longest
        assert set(np.cumsum(one.lengths)) <= set(np.cumsum(other.lengths))
        assert (longest < max(one.lengths)) == (len(one.lengths) < len(other.lengths))


@pytest.mark.parametrize("longest", [2, 7, 64, SEQ_LENGTH])
def test_each_token_of_a_causal_batch_predicts_the_next_of_its_segment(dataset: PackDataset, longest: int) -> None:
    step = StepData(8, 8, longest, 0.3, "causal")
    (batch,) = rank_micro_batches(dataset, step, 8, 0, 1)
    assert batch.causal
    targets = dict(zip(batch.masked_positions.tolist(), batch.targets.tolist(), strict=True))
    expected, padding, start = {}, set(), 0
    for row, address in enumerate(batch.addresses):
        tokens = dataset.read(address).tokens
        assert batch.input_ids[row * SEQ_LENGTH :][: len(tokens)].tolist() == tokens.tolist()  # nothing is masked
        padding |= set(range(row * SEQ_LENGTH + len(tokens), (row + 1) * SEQ_LENGTH))
    for length in batch.lengths:
        for position in range(start, start + length - 1):
            if position not in padding:
                expected[position] = int(batch.input_ids[position + 1])
        start += length
    assert targets == expected
    masked = rank_micro_batches(dataset, dataclasses.replace(step, objective="masked"), 8, 0, 1)[0]
    assert (batch.lengths, batch.pack_tokens, batch.addresses) == (masked.lengths, masked.pack_tokens, masked.addresses)
    assert batch.digest != masked.digest
    assert step_of(dataset, step, 2, 2) == step_of(dataset, step, 8, 1)
    shares = [rank_micro_batches(dataset, step, 2, rank, 2) for rank in range(2)]
    assert sum(one.digest for share in shares for one in share) == batch.digest


def steps(count: int) -> list[StepData]:
    """Of both objectives in turn."""
    return [
        StepData(
            number * 6, 6, (64, SEQ_LENGTH)[number % 2], (0.3, 0.15)[number % 2], ("masked", "causal")[number // 2 % 2]
        )
        for number in range(count)
    ]


@pytest.mark.parametrize("ahead", [0, 1, 2, 50])
def test_preparing_ahead_changes_nothing(dataset: PackDataset, ahead: int) -> None:
    loaded = list(load(dataset, iter(steps(9)), 3, rank=1, world_size=2, ahead=ahead))
    assert len(loaded) == 9
    for step, batches in zip(steps(9), loaded, strict=True):
        for batch, expected in zip(batches, rank_micro_batches(dataset, step, 3, 1, 2), strict=True):
            assert rows(batch) == rows(expected)


class Reader:
    """A source that calls `before` before each pack."""

    def __init__(self, dataset: PackDataset, source: int, before: Callable[[int], None]) -> None:
        self.inner, self.before = dataset.readers[source], before

    def __getitem__(self, index: int) -> Pack:
        self.before(index)
        return self.inner[index]

    def fetch_ahead(self, number: int) -> None:
        pass


def with_reader(dataset: PackDataset, before: Callable[[int], None]) -> PackDataset:
    readers = tuple(Reader(dataset, source, before) for source in range(2))
    return dataclasses.replace(dataset, readers=readers)  # type: ignore[arg-type]


def test_an_error_is_raised_at_the_step_that_it_belongs_to(dataset: PackDataset) -> None:
    bad = next(address for address in dataset.order.between(5 * 6, 6 * 6) if address.source == 0)

    def before(pack: int) -> None:
        if pack == bad.pack:
            raise UserError("shard.00003.mds: this shard is missing")

    broken = with_reader(dataset, before)
    bad_rank = dataset.order.between(5 * 6, 6 * 6).index(bad) % 2
    batches = load(broken, iter(steps(10)), 3, rank=bad_rank, world_size=2, ahead=3)
    for _ in range(5):
        next(batches)
    with pytest.raises(UserError, match="this shard is missing"):
        next(batches)
    with pytest.raises(StopIteration):
        next(batches)
    assert len(list(load(broken, iter(steps(5)), 3, rank=bad_rank, world_size=2, ahead=3))) == 5


def test_an_error_in_the_schedule_is_raised(dataset: PackDataset) -> None:
    def failing() -> object:
        yield steps(1)[0]
        raise RuntimeError("no such step")

    batches = load(dataset, failing(), 3, ahead=0)  # type: ignore[arg-type]
    next(batches)
    with pytest.raises(RuntimeError, match="no such step"):
        next(batches)


def test_leaving_the_loop_does_not_wait(dataset: PackDataset) -> None:
    held, reading = threading.Event(), threading.Event()
    hold = dataset.order.between(6, 7)[0].pack

    def before(pack: int) -> None:
        if pack == hold:
            reading.set()
            held.wait(60)

    batches = load(with_reader(dataset, before), iter(steps(20)), 3)
    next_one = Background("test").submit(next, batches)
    assert reading.wait(30)
    next_one.result(30)
    start = time.monotonic()
    assert isinstance(batches, Generator)
    batches.close()
    assert time.monotonic() - start < 5
    held.set()
    deadline = time.monotonic() + 30
    while any(thread.name in ("batches", "shards") for thread in threading.enumerate()):
        assert time.monotonic() < deadline, "the loader's threads outlive it"
        time.sleep(0.01)


def test_background_calls_keep_their_order_and_their_errors() -> None:
    background = Background("test")
    called: list[int] = []
    futures = [background.submit(called.append, number) for number in range(5)]
    failed = background.submit(int, "x")
    cancelled = background.submit(called.append, 9)
    background.close()
    for future in futures:
        future.result(10)
    assert called[:5] == list(range(5))
    with pytest.raises(ValueError, match="invalid literal"):
        failed.result(10)
    assert cancelled.result(10) is None


LOAD_FOREVER = """
import itertools, sys
from clinical_modernbert.streaming_data.loader.batches import StepData
from clinical_modernbert.streaming_data.loader.batches import load
from clinical_modernbert.streaming_data.loader.config import DataConfig
from clinical_modernbert.streaming_data.loader.dataset import open_dataset
dataset = open_dataset(DataConfig(path=sys.argv[1], seq_length=int(sys.argv[2])), 3)
for _ in load(dataset, (StepData(2 * n, 2, 64, 0.3) for n in itertools.count()), 1, 1, 2):
    print("step", flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(not can_mount(), reason="needs the right to mount a shared memory of its own (root)")
def test_a_killed_rank_leaves_nothing_in_shared_memory(tmp_path: Path) -> None:
    """Started as by DeepSpeed's launcher, which sets LOCAL_SIZE instead of LOCAL_WORLD_SIZE."""
    path = write_small_data(tmp_path / "data")
    (shared := tmp_path / "shm").mkdir()  # of its own: other processes of this machine make and leave segments too
    mounted = ["unshare", "--mount", "sh", "-c", f'mount --bind {shared} /dev/shm; exec "$@"', "sh"]
    environment = {name: value for name, value in os.environ.items() if name != "LOCAL_WORLD_SIZE"}
    environment |= {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "LOCAL_SIZE": "2"}
    for _ in range(2):  # nothing of the first run blocks the second
        rank = subprocess.Popen(
            [*mounted, sys.executable, "-c", LOAD_FOREVER, str(path), str(SEQ_LENGTH)],
            env=environment,
            stdout=subprocess.PIPE,
        )
        assert rank.stdout is not None
        assert [rank.stdout.readline() for _ in range(3)] == [b"step\n"] * 3
        rank.kill()
        rank.wait()
        rank.stdout.close()
    assert not [file.name for file in shared.iterdir()]


@pytest.mark.slow
def test_ctrl_c_ends_a_process_whose_data_hangs(tmp_path: Path) -> None:
    write_small_data(tmp_path / "data", packs=4)
    # A shell that runs these tests in the background makes their children ignore Ctrl-C.
    script = f"""
import signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from clinical_modernbert.streaming_data.loader import batches
from clinical_modernbert.streaming_data.shards import mds as shards
from clinical_modernbert.streaming_data.loader.config import DataConfig
from clinical_modernbert.streaming_data.loader.dataset import open_dataset
def hang(*args):
    print("waiting", flush=True)
    time.sleep(600)
shards.from_mds = hang
dataset = open_dataset(DataConfig(path={str(tmp_path / "data")!r}, seq_length={SEQ_LENGTH}), 0)
next(batches.load(dataset, [batches.StepData(0, 4, 64, 0.3)], 1))
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"waiting\n"  # imports are complete: nothing swallows the signal
            time.sleep(0.5)
            process.send_signal(signal.SIGINT)
            _, error = process.communicate(timeout=60)
        finally:
            process.kill()
    assert b"KeyboardInterrupt" in error
    assert process.returncode not in (0, -signal.SIGKILL)
