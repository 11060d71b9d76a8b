"""Benchmark of the data loader on one core: `python -m ...streaming_data.inspection.bench`.

The packs resemble those of abstracts and notes: 8,192 tokens in 30 segments. Their files are in the page cache. Times
are processor times, so other work on the machine has little effect.
"""

import multiprocessing
import resource
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from ..loader.batches import StepData, load, rank_micro_batches
from ..loader.dataset import PackDataset
from ..loader.lanes import LaneOrder
from ..loader.mask_groups import Strategy, mask_groups
from ..loader.masking import Masked, mask, vocabulary
from ..loader.order import Order
from ..shards.manifest import DataManifest
from ..shards.mds import PackReader, PackWriter
from ..shards.pack import Pack

LENGTH = 8192
PACKS = 4096  # more than one shard
NODE_TOKENS, NODE_CORES = 1_200_000, 96  # tokens per second and cores of a node with 8 GPUs: planned, not measured
VOCABULARY = vocabulary(50_368, pad_id=0, mask_id=4, unmaskable_ids=[0, 1, 2, 3, 4])


def main() -> None:
    """Print the table."""
    packs = [_random_pack(number) for number in range(64)]
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "packs"
        _write(Path(directory) / "first", packs, 1)  # the first write imports torch
        _report("write with hashes", lambda: _write(path, packs))
        dataset = _dataset(path)
        reader = dataset.readers[0]
        scattered = np.random.default_rng(0).permutation(PACKS).tolist()
        _report("check every hash", reader.verify)
        _report("read", lambda: _consume(reader[number] for number in scattered))
        for strategy in ("token", "whole_word", "span"):
            masked = (_mask(packs[n % 64], strategy, n) for n in scattered)
            _report(f"mask 30 %, {strategy}", partial(_consume, masked))
        steps = [StepData(10**9 + start, 64, 1024, 0.3) for start in range(0, PACKS, 64)]
        loader = _report(
            "order, read, mask, cut, assemble", lambda: _consume(rank_micro_batches(dataset, s, 8, 0, 1) for s in steps)
        )
    order = Order([[930] * 2000, [930] * 800, [930] * 400, [100], [37], [5]], [50, 20, 20, 5, 3, 2], seed=0)
    _report("order alone, 6 sources", lambda: order.between(10**9, 10**9 + PACKS))
    _report("order alone, a rank's share of 64", lambda: order.between(10**9, 10**9 + 64 * PACKS, 64))
    lanes = LaneOrder(order, 1024)
    _report("lanes, 6 sources", lambda: lanes.share(10**9, 10**9 + PACKS, 0, 1))
    starts = range(10**9, 10**9 + 64 * PACKS, PACKS)
    _report("lanes, a rank's share of 64", lambda: [lanes.share(start, start + PACKS, 0, 64) for start in starts])
    print(
        f"the loader is {loader / (NODE_TOKENS / NODE_CORES):,.0f} times as fast as one core's share of a planned node"
    )
    for times in (1, 10):
        print(f"memory of a loader of {times * PACKS:,} packs: {_loader_megabytes(times * PACKS, packs):,.0f} MB")


def _loader_megabytes(count: int, packs: list[Pack]) -> float:
    """Peak memory of a new process that loads from a data set of `count` packs."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "packs"
        _write(path, packs, count)
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            return pool.submit(_load_all_steps, path).result()


def _load_all_steps(path: Path) -> float:
    dataset = _dataset(path)
    _consume(load(dataset, (StepData(start, 64, 1024, 0.3) for start in range(0, PACKS, 64)), 8))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def _report(name: str, work: Callable[[], object]) -> float:
    """Time one kind of work and print it; returns tokens per second."""
    start = time.process_time()
    work()
    seconds = time.process_time() - start
    print(f"{name:36}{1e6 * seconds / PACKS:8.0f} us/pack{PACKS * LENGTH / seconds / 1e6:10.1f} M tokens/s", flush=True)
    return PACKS * LENGTH / seconds


def _consume(items: Iterable[object]) -> None:
    deque(items, maxlen=0)


def _random_pack(seed: int) -> Pack:
    rng = np.random.default_rng(seed)
    cuts = np.sort(rng.choice(np.arange(1, LENGTH), 29, replace=False))
    return Pack(
        tokens=rng.integers(5, 50_000, LENGTH).astype(np.uint16),
        lengths=np.diff(cuts, prepend=0, append=LENGTH).astype(np.int32),
        word_starts=rng.random(LENGTH) < 0.6,
        doc_ids=[f"pubmed:{seed * 30 + segment + 30_000_000}" for segment in range(30)],
    )


def _mask(pack: Pack, strategy: Strategy, key: int) -> Masked:
    groups = mask_groups(strategy, pack.tokens, pack.word_starts, VOCABULARY.is_real, None, key)
    return mask(pack.tokens, 0.3, VOCABULARY, key, groups=groups)


def _write(path: Path, packs: list[Pack], count: int = PACKS) -> None:
    with PackWriter(path) as writer:
        for number in range(count):
            writer.write(packs[number % len(packs)])


def _dataset(path: Path) -> PackDataset:
    reader = PackReader(str(path))
    order = Order([[shard.packs for shard in reader.shards]], [1], seed=0)
    tokenizer = {"vocab_size": 50_368, "special_ids": {"cls": 1, "sep": 2, "pad": 0, "mask": 4}, "unmaskable_ids": []}
    manifest = DataManifest.model_validate({"version": 1, "seq_length": LENGTH, "tokenizer": tokenizer, "sources": {}})
    return PackDataset(
        str(path), ("random",), (reader,), order, VOCABULARY, LENGTH, (LENGTH,), seed=0, manifest=manifest
    )


if __name__ == "__main__":
    main()
