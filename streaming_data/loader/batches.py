"""From packs to micro-batches, and the loader that prepares them ahead of time.

Step s consumes packs s * B, ..., (s + 1) * B - 1 of the order, where B is the global batch size. The order divides them
among the ranks, so a step sees the same packs at any world size, and a resume needs only the number of packs consumed.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch

from ...storage.background import Background
from ..shards.pack import Pack
from .config import Objective
from .dataset import PackDataset
from .mask_groups import mask_groups
from .masking import Masked, mask
from .next_token import next_tokens
from .order import PackAddress
from .prefetch import ShardsAhead
from .split import divide, micro_batch_count

_FILLER_TOKENS = 16


@dataclass(frozen=True)
class MicroBatch:
    """k packs as one flat row of T = k * seq_length tokens; without packs, some padding (`filler`).

    Attributes:
        input_ids: int64 (T,), masked; causal: as they are.
        lengths: of the sequences, in order, summing to T. Attention never crosses from one sequence to another. Padding
            is a sequence too.
        masked_positions: int64 (M,), ascending; causal: all but the last of each sequence, and no padding.
        targets: int64 (M,), the original tokens at these positions; causal: the next ones.
        addresses: of its packs.
        pack_tokens: real tokens of each pack, padding not counted.
        digest: the sum of its packs' digests of address, masked positions and targets. So the sum over a step depends
            neither on the size of a micro-batch nor on how ranks share the packs.
        causal: whether each token attends only to those before it.
    """

    input_ids: torch.Tensor
    lengths: tuple[int, ...]
    masked_positions: torch.Tensor
    targets: torch.Tensor
    addresses: tuple[PackAddress, ...]
    pack_tokens: tuple[int, ...]
    digest: int = 0
    causal: bool = False


Staged = TypeVar("Staged")


@dataclass(frozen=True)
class StepData:
    """The settings of the data of one step.

    Attributes:
        start: packs consumed before the step.
        packs: packs in the step, over all ranks.
        max_seqlen: segments longer than this are split.
        mlm_probability: share of the maskable tokens that is masked.
        objective: causal: nothing is masked.
    """

    start: int
    packs: int
    max_seqlen: int
    mlm_probability: float
    objective: Objective = "masked"


def cut(lengths: npt.NDArray[np.integer], max_seqlen: int) -> npt.NDArray[np.int64]:
    """Split each length above `max_seqlen` into parts of `max_seqlen` and a remainder: sequence-length warm-up without
    preparing the data again. Lengths of zero are dropped."""
    lengths = lengths[lengths > 0].astype(np.int64)
    parts = -(-lengths // max_seqlen)
    out = np.full(int(parts.sum()), max_seqlen, np.int64)
    last = np.cumsum(parts) - 1
    out[last] = lengths - (parts - 1) * max_seqlen
    return out


def micro_batch(
    dataset: PackDataset,
    addresses: Sequence[PackAddress],
    max_seqlen: int,
    mlm_probability: float,
    objective: Objective = "masked",
) -> MicroBatch:
    """Read, mask and concatenate the packs at `addresses`, with segments split at `max_seqlen`."""
    size = dataset.seq_length
    input_ids = np.full(len(addresses) * size, dataset.vocabulary.pad_id, np.int64)
    lengths, positions, targets, tokens, digest = [], [], [], [], 0
    for row, address in enumerate(addresses):
        pack = dataset.read(address)
        if objective == "causal":
            masked = next_tokens(pack.tokens, cut(pack.lengths, max_seqlen))
        else:
            masked = _mask(dataset, pack, address, mlm_probability)
        n = len(pack.tokens)
        input_ids[row * size : row * size + n] = masked.tokens
        lengths.append(cut(np.append(pack.lengths, size - n), max_seqlen))
        positions.append(masked.positions + row * size)
        targets.append(masked.targets)
        tokens.append(n)
        digest += _digest(address, masked)
    return MicroBatch(
        input_ids=torch.from_numpy(input_ids),
        lengths=tuple(np.concatenate(lengths).tolist()),
        masked_positions=torch.from_numpy(np.concatenate(positions)),
        targets=torch.from_numpy(np.concatenate(targets)),
        addresses=tuple(addresses),
        pack_tokens=tuple(tokens),
        digest=digest,
        causal=objective == "causal",
    )


def _mask(dataset: PackDataset, pack: Pack, address: PackAddress, mlm_probability: float) -> Masked:
    vocabulary, key = dataset.vocabulary, (dataset.seed, *address)
    groups = mask_groups(dataset.masking, pack.tokens, pack.word_starts, vocabulary.is_real, vocabulary.codes, *key)
    return mask(pack.tokens, mlm_probability, vocabulary, *key, groups=groups)


def _digest(address: PackAddress, masked: Masked) -> int:
    content = hashlib.blake2b(repr(tuple(address)).encode(), digest_size=4)
    content.update(masked.positions.tobytes())
    content.update(masked.targets.tobytes())
    return int.from_bytes(content.digest(), "big")


def filler(dataset: PackDataset, objective: Objective) -> MicroBatch:
    """A micro-batch without packs, for a rank that has fewer than the others: a short sequence of padding.

    Nothing in it is predicted, so its loss is an empty sum and its gradients are zero, as those of the padding in any
    pack. A copy of a real micro-batch whose loss is multiplied by zero would turn a loss that is not finite into NaN.
    """
    return MicroBatch(
        input_ids=torch.full((_FILLER_TOKENS,), dataset.vocabulary.pad_id, dtype=torch.int64),
        lengths=(_FILLER_TOKENS,),
        masked_positions=torch.empty(0, dtype=torch.int64),
        targets=torch.empty(0, dtype=torch.int64),
        addresses=(),
        pack_tokens=(),
        causal=objective == "causal",
    )


def rank_micro_batches(
    dataset: PackDataset, step: StepData, micro_batch_size: int, rank: int, world_size: int
) -> list[MicroBatch]:
    """The micro-batches of one rank in one step, of at most `micro_batch_size` packs; every rank has as many."""
    addresses = dataset.order.share(step.start, step.start + step.packs, rank, world_size)
    count = micro_batch_count(step.packs, micro_batch_size, world_size)
    settings = step.max_seqlen, step.mlm_probability, step.objective
    return [
        micro_batch(dataset, part, *settings) if part else filler(dataset, step.objective)
        for part in divide(addresses, count)
    ]


def load(
    dataset: PackDataset,
    steps: Iterable[StepData],
    micro_batch_size: int,
    rank: int = 0,
    world_size: int = 1,
    ahead: int = 2,
) -> Iterator[list[MicroBatch]]:
    """Yield the rank's micro-batches of each step, prepared ahead. An error while reading is raised at its step."""
    for future in load_ahead(dataset, steps, micro_batch_size, _as_it_is, rank, world_size, ahead):
        yield future.result()


def load_ahead(
    dataset: PackDataset,
    steps: Iterable[StepData],
    micro_batch_size: int,
    stage: Callable[[MicroBatch], Staged],
    rank: int = 0,
    world_size: int = 1,
    ahead: int = 2,
) -> Iterator[Future[list[Staged]]]:
    """Yield the future of the rank's micro-batches of each step; a thread prepares them `ahead` steps in advance.

    A second thread downloads and checks the shards that will be needed (`prefetch.py`). An error while reading is that
    of the step's future, so a caller can wait for data and still obey a request to stop.

    Args:
        stage: prepares a micro-batch further in the same thread, for example for the copy to a device.
    """
    # Import torch (through mosaic) once, before the two threads import it concurrently.
    from ...storage import mosaic  # noqa: F401

    def prepare(step: StepData) -> list[Staged]:
        return [stage(one) for one in rank_micro_batches(dataset, step, micro_batch_size, rank, world_size)]

    batches, shards = Background("batches"), Background("shards")
    shards_ahead = ShardsAhead(dataset, rank, world_size, ahead)
    pending: deque[Future[list[Staged]]] = deque()
    try:
        for step in _announced(
            steps, lambda step: shards.submit(shards_ahead, step.start, step.packs), shards_ahead.steps_ahead
        ):
            pending.append(batches.submit(prepare, step))
            if len(pending) > ahead:
                yield pending.popleft()
        while pending:
            yield pending.popleft()
    finally:
        for future in pending:
            future.cancel()
        batches.close()
        shards.close()


def _announced(steps: Iterable[StepData], announce: Callable[[StepData], object], by: int) -> Iterator[StepData]:
    """Yield the steps, each after the next `by` steps have been announced."""
    coming: deque[StepData] = deque()
    for step in steps:
        announce(step)
        coming.append(step)
        if len(coming) > by:
            yield coming.popleft()
    yield from coming


def _as_it_is(batch: MicroBatch) -> MicroBatch:
    return batch
