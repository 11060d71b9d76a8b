"""From packs to what a rank feeds its model: micro-batches of constant size, and the loader that prepares them ahead.

Step s takes the packs number s * B, ..., (s + 1) * B - 1 of the order; rank r of w takes every w-th of them from the
r-th on. So a step sees the same packs at any world size, and all that a resume needs to know is how many packs have
been consumed.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from ...storage.background import Background
from .dataset import PackDataset
from .mask_groups import mask_groups
from .masking import mask
from .order import PackAddress


@dataclass(frozen=True)
class MicroBatch:
    """k packs as one flat row of T = k * seq_length tokens.

    Attributes:
        input_ids: int64 (T,), masked.
        lengths: of the sequences that attend to themselves, in order, summing to T. Padding is a sequence too.
        masked_positions: int64 (M,), ascending.
        targets: int64 (M,).
        addresses: its packs.
        pack_tokens: real tokens of each, padding not counted.
    """

    input_ids: torch.Tensor
    lengths: tuple[int, ...]
    masked_positions: torch.Tensor
    targets: torch.Tensor
    addresses: tuple[PackAddress, ...]
    pack_tokens: tuple[int, ...]


@dataclass(frozen=True)
class StepData:
    """What decides the content of one step besides its packs.

    Attributes:
        start: number of packs consumed before it.
        packs: number of packs in it, over all ranks.
        max_seqlen: pieces longer than this are cut.
        mlm_probability: share of the maskable tokens that is masked.
    """

    start: int
    packs: int
    max_seqlen: int
    mlm_probability: float


def cut(lengths: npt.NDArray[np.integer], max_seqlen: int) -> npt.NDArray[np.int64]:
    """Cut every length above `max_seqlen` into parts of it and a rest: sequence-length warm-up without re-sharding."""
    lengths = lengths[lengths > 0].astype(np.int64)
    parts = -(-lengths // max_seqlen)
    out = np.full(int(parts.sum()), max_seqlen, np.int64)
    last = np.cumsum(parts) - 1
    out[last] = lengths - (parts - 1) * max_seqlen
    return out


def micro_batch(
    dataset: PackDataset, addresses: Sequence[PackAddress], max_seqlen: int, mlm_probability: float
) -> MicroBatch:
    """Read, mask, cut and lay end to end the packs at `addresses`."""
    size = dataset.seq_length
    input_ids = np.full(len(addresses) * size, dataset.vocabulary.pad_id, np.int64)
    lengths, positions, targets, tokens = [], [], [], []
    for row, address in enumerate(addresses):
        pack = dataset.read(address)
        words, key = dataset.vocabulary, (dataset.seed, *address)
        groups = mask_groups(dataset.masking, pack.tokens, pack.word_starts, words.is_real, words.codes, *key)
        masked = mask(pack.tokens, mlm_probability, words, *key, groups=groups)
        n = len(pack.tokens)
        input_ids[row * size : row * size + n] = masked.tokens
        lengths.append(cut(np.append(pack.lengths, size - n), max_seqlen))
        positions.append(masked.positions + row * size)
        targets.append(masked.targets)
        tokens.append(n)
    return MicroBatch(
        input_ids=torch.from_numpy(input_ids),
        lengths=tuple(np.concatenate(lengths).tolist()),
        masked_positions=torch.from_numpy(np.concatenate(positions)),
        targets=torch.from_numpy(np.concatenate(targets)),
        addresses=tuple(addresses),
        pack_tokens=tuple(tokens),
    )


def rank_micro_batches(
    dataset: PackDataset, step: StepData, micro_batch_size: int, rank: int, world_size: int
) -> list[MicroBatch]:
    """The micro-batches of one rank in one step, all of `micro_batch_size` packs.

    Raises:
        ValueError: the ranks cannot share the step's packs evenly.
    """
    if step.packs % (world_size * micro_batch_size):
        raise ValueError(
            f"{step.packs} packs per step are no multiple of {world_size} ranks x {micro_batch_size} packs"
        )
    mine = dataset.order.between(step.start + rank, step.start + step.packs, world_size)
    return [
        micro_batch(dataset, mine[at : at + micro_batch_size], step.max_seqlen, step.mlm_probability)
        for at in range(0, len(mine), micro_batch_size)
    ]


def load(
    dataset: PackDataset,
    steps: Iterable[StepData],
    micro_batch_size: int,
    rank: int = 0,
    world_size: int = 1,
    ahead: int = 2,
) -> Iterator[list[MicroBatch]]:
    """The rank's micro-batches of each step in turn, prepared in a thread `ahead` steps before they are asked for.

    Another thread brings and checks the shards of the windows of shards to come. An error while reading is raised at
    the step that it belongs to.
    """
    from ...storage import mosaic  # noqa: F401 - before two threads and this one import at once what is as entangled as torch

    batches, shards = Background("batches"), Background("shards")
    waiting: deque[Future[list[MicroBatch]]] = deque()
    try:
        for step in steps:
            waiting.append(batches.submit(rank_micro_batches, dataset, step, micro_batch_size, rank, world_size))
            shards.submit(dataset.fetch_ahead, step.start)
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
        batches.close()
        shards.close()
