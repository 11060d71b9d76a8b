"""Validation loss and accuracy on held-out packs."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from ..streaming_data.loader.batches import micro_batch
from ..streaming_data.loader.dataset import PackDataset
from ..streaming_data.loader.mask_groups import mask_groups
from ..streaming_data.loader.order import PackAddress
from .copies import DeviceBatch, StagedMicroBatch, on_device, stage
from .metrics.writer import ValidationMetrics
from .objective import forward

MLM_PROBABILITY = 0.15


def held_out_batches(
    dataset: PackDataset, packs: int, device: torch.device, causal: bool = False
) -> list[StagedMicroBatch]:
    """This rank's part of the first `packs` held-out packs of each source, in order.

    Each pack is two micro-batches: with single tokens masked, and with words. If `causal`, a third one predicts the
    next token.
    """
    kinds = [_masked_tokens, _masked_words, *([_next_tokens] if causal else [])]
    return [
        kind(dataset, PackAddress(source, 0, number or 0), device)
        for source, number in _share(dataset, packs)
        for kind in kinds
    ]


@torch.no_grad()
def evaluate(
    engine: Any, dataset: PackDataset, packs: int, step: int, held_out: Sequence[StagedMicroBatch], causal: bool = False
) -> Iterator[ValidationMetrics]:
    """Loss and accuracy of each source over its first `packs` held-out packs. Every rank calls it.

    Args:
        held_out: `held_out_batches(dataset, packs, device, causal)`.

    The packs and their masks are the same at every step, in every run of the same seed and at any world size. A source
    without a masked token is left out.
    """
    engine.eval()
    batches = on_device(held_out, engine.device)
    kinds = [_token_sums, _word_sums, *([_token_sums] if causal else [])]
    sums = torch.zeros(len(dataset.sources), 8 if causal else 5, dtype=torch.float64, device=engine.device)
    for source, number in _share(dataset, packs):
        pack_sums = torch.cat([kind(engine, next(batches)) for kind in kinds])
        if number is not None:
            sums[source] += pack_sums
    dist.all_reduce(sums)
    engine.train()
    for name, source_sums in zip(dataset.sources, sums.tolist(), strict=True):
        loss_sum, correct, masked, correct_words, words, *next_token = source_sums
        if not masked:
            continue
        causal_loss, causal_correct, count = next_token or (0.0, 0.0, 0.0)
        yield ValidationMetrics(
            step=step,
            source=name,
            loss=loss_sum / masked,
            accuracy=correct / masked,
            masked=int(masked),
            word_accuracy=correct_words / words if words else None,
            words=int(words),
            causal_loss=causal_loss / count if count else None,
            causal_accuracy=causal_correct / count if count else None,
        )


def _share(dataset: PackDataset, packs: int) -> Iterator[tuple[int, int | None]]:
    """(source, number) of this rank's packs. The number is None where others have one more pack, since under ZeRO-3 all
    must run forward equally often."""
    rank, world_size = dist.get_rank(), dist.get_world_size()
    for source, reader in enumerate(dataset.readers):
        for first in range(0, min(packs, len(reader)), world_size):
            yield source, first + rank if first + rank < min(packs, len(reader)) else None


def _masked_tokens(dataset: PackDataset, address: PackAddress, device: torch.device) -> StagedMicroBatch:
    return stage(micro_batch(dataset, [address], dataset.seq_length, MLM_PROBABILITY), device)


def _next_tokens(dataset: PackDataset, address: PackAddress, device: torch.device) -> StagedMicroBatch:
    return stage(micro_batch(dataset, [address], dataset.seq_length, MLM_PROBABILITY, "causal"), device)


def _masked_words(dataset: PackDataset, address: PackAddress, device: torch.device) -> StagedMicroBatch:
    """A pack under whole-word masking.

    With it go, for each masked token, its word, int64 (M,), and for each word, whether all of it is masked, bool.
    """
    batch = micro_batch(replace(dataset, masking="whole_word"), [address], dataset.seq_length, MLM_PROBABILITY)
    pack, is_real = dataset.read(address), dataset.vocabulary.is_real
    words = mask_groups("whole_word", pack.tokens, pack.word_starts, is_real, None)
    assert words is not None
    masked = words[batch.masked_positions.numpy()]
    size, masked_size = (
        np.bincount(tokens, minlength=words[-1] + 1) for tokens in (words[is_real[pack.tokens]], masked)
    )
    # The last word may be masked in part, to meet the number of masked tokens exactly: it is not counted.
    return stage(batch, device, [masked, (masked_size == size) & (size > 0)])


def _token_sums(engine: Any, batch: DeviceBatch) -> torch.Tensor:
    """[sum of losses, correct tokens, predicted tokens] of one pack, fp64 (3,), on the rank's device."""
    loss, correct = forward(engine, batch)
    return torch.stack([loss.double(), correct.sum().double(), loss.new_full((), len(correct), dtype=torch.float64)])


def _word_sums(engine: Any, batch: DeviceBatch) -> torch.Tensor:
    """[correct words, masked words] of one pack under whole-word masking, fp64 (2,), on the rank's device.

    A word is correct if all its tokens are predicted.
    """
    _, correct = forward(engine, batch)
    word, whole = batch.further
    wrong = torch.zeros(whole.shape, dtype=torch.float64, device=whole.device).index_add_(0, word, (~correct).double())
    return torch.stack([((wrong == 0) & whole).sum(), whole.sum()]).double()
