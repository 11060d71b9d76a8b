"""Validation loss and accuracy on held-out packs."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from ..streaming_data.loader.batches import MicroBatch, micro_batch
from ..streaming_data.loader.dataset import PackDataset
from ..streaming_data.loader.mask_groups import mask_groups
from ..streaming_data.loader.order import PackAddress
from .metrics.writer import ValidationMetrics
from .objective import forward

MLM_PROBABILITY = 0.15


def held_out_batches(dataset: PackDataset, packs: int) -> list[MicroBatch]:
    """This rank's part of the first `packs` held-out packs of each source, one per micro-batch, in order."""
    return [
        micro_batch(dataset, [PackAddress(source, 0, number or 0)], dataset.seq_length, MLM_PROBABILITY)
        for source, reader in enumerate(dataset.readers)
        for number in _share(min(packs, len(reader)))
    ]


@torch.no_grad()
def evaluate(
    engine: Any, dataset: PackDataset, packs: int, step: int, held_out: Sequence[MicroBatch]
) -> Iterator[ValidationMetrics]:
    """Loss and accuracy of each source over its first `packs` held-out packs. Every rank calls it.

    Args:
        held_out: `held_out_batches(dataset, packs)`.

    The packs and their masks are the same at every step, in every run of the same seed and at any world size. A source
    without a masked token is left out.
    """
    engine.eval()
    batches = iter(held_out)
    for source, reader in enumerate(dataset.readers):
        sums = torch.zeros(5, dtype=torch.float64, device=engine.device)
        for number in _share(min(packs, len(reader))):
            batch = next(batches)
            pack_sums = torch.cat([_token_sums(engine, batch), _word_sums(engine, dataset, batch.addresses[0])])
            if number is not None:
                sums += pack_sums
        dist.all_reduce(sums)
        loss_sum, correct, masked, correct_words, words = sums.tolist()
        if not masked:
            continue
        yield ValidationMetrics(
            step=step,
            source=dataset.sources[source],
            loss=loss_sum / masked,
            accuracy=correct / masked,
            masked=int(masked),
            word_accuracy=correct_words / words if words else None,
            words=int(words),
        )
    engine.train()


def _share(packs: int) -> Iterator[int | None]:
    """This rank's packs; None where others have one more, since under ZeRO-3 all must run forward equally often."""
    rank, world_size = dist.get_rank(), dist.get_world_size()
    for first in range(0, packs, world_size):
        yield first + rank if first + rank < packs else None


def _token_sums(engine: Any, batch: MicroBatch) -> torch.Tensor:
    """[sum of losses, correct tokens, masked tokens] of one pack, fp64 (3,), on the rank's device."""
    loss, correct = forward(engine, batch)
    return torch.stack([loss.double(), correct.sum().double(), loss.new_tensor(len(correct)).double()])


def _word_sums(engine: Any, dataset: PackDataset, address: PackAddress) -> torch.Tensor:
    """[correct words, masked words] of one pack under whole-word masking, fp64 (2,), on the rank's device.

    A word is correct if all its tokens are predicted.
    """
    batch = micro_batch(replace(dataset, masking="whole_word"), [address], dataset.seq_length, MLM_PROBABILITY)
    _, correct = forward(engine, batch)
    pack, is_real = dataset.read(address), dataset.vocabulary.is_real
    words = mask_groups("whole_word", pack.tokens, pack.word_starts, is_real, None)
    assert words is not None
    masked = words[batch.masked_positions.numpy()]
    size, masked_size, correct_size = (
        np.bincount(tokens, minlength=words[-1] + 1)
        for tokens in (words[is_real[pack.tokens]], masked, masked[correct.cpu().numpy()])
    )
    # The last word may be masked in part, to meet the number of masked tokens exactly: it is not counted.
    whole = (masked_size == size) & (size > 0)
    return torch.tensor([(correct_size == size)[whole].sum(), whole.sum()], dtype=torch.float64, device=correct.device)
