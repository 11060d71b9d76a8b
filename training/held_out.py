"""How well the model predicts text that it never trains on."""

from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist

from ..streaming_data.batches import micro_batch
from ..streaming_data.dataset import PackDataset
from ..streaming_data.order import PackAddress
from .metrics import HeldOutMetrics
from .objective import forward

MLM_PROBABILITY = 0.15


@torch.no_grad()
def evaluate(engine: Any, dataset: PackDataset, packs: int, step: int) -> Iterator[HeldOutMetrics]:
    """Loss and accuracy of each source over its first `packs` held-out packs. Every rank calls it.

    The packs and their masks are the same at every step, in every run of the same seed and at any world size.
    """
    engine.eval()
    for source, reader in enumerate(dataset.readers):
        sums = torch.zeros(3, dtype=torch.float64, device=engine.device)
        for number in _share(min(packs, len(reader))):
            pack_sums = _pack_sums(engine, dataset, PackAddress(source, 0, number or 0))
            if number is not None:
                sums += pack_sums
        dist.all_reduce(sums)
        loss_sum, correct, masked = sums.tolist()
        yield HeldOutMetrics(step, dataset.sources[source], loss_sum / masked, correct / masked, int(masked))
    engine.train()


def _share(packs: int) -> Iterator[int | None]:
    """This rank's packs; None where others have one more, since under ZeRO-3 all must compute equally often."""
    rank, world_size = dist.get_rank(), dist.get_world_size()
    for first in range(0, packs, world_size):
        yield first + rank if first + rank < packs else None


def _pack_sums(engine: Any, dataset: PackDataset, address: PackAddress) -> torch.Tensor:
    """[sum of losses, correct predictions, masked tokens] of one pack, fp64 (3,), on the rank's device."""
    batch = micro_batch(dataset, [address], dataset.seq_length, MLM_PROBABILITY)
    loss, correct = forward(engine, batch)
    return torch.stack([loss.double(), correct.double(), loss.new_tensor(len(batch.targets)).double()])
