"""What all ranks agree on before each step.

Ranks that drift apart do not always hang: a rank that runs one micro-batch more than the others can pair its
collectives with the wrong ones, in silence. So before each step every rank tells the others where it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist

from ...streaming_data.loader.batches import MicroBatch


@dataclass(frozen=True)
class Agreement:
    """Of all ranks, about the step to come.

    Attributes:
        masked: masked tokens in it.
        source_tokens: real tokens in it, of each source.
        stop: some rank was asked to stop.
        superseded: rank 0 saw that the run was started again.
    """

    masked: int
    source_tokens: tuple[int, ...]
    stop: bool
    superseded: bool


def agree(
    step: int,
    micro_batches: Sequence[MicroBatch],
    sources: int,
    device: torch.device,
    *,
    stop: bool = False,
    superseded: bool = False,
) -> Agreement:
    """Exchange the counts of one step; every rank calls it.

    Args:
        sources: how many there are.
        stop, superseded: of this rank; see `Agreement`.
    Raises:
        RuntimeError: the ranks are at different steps, or would run different numbers of micro-batches.
    """
    masked = sum(len(batch.targets) for batch in micro_batches)
    tokens = [0] * sources
    for batch in micro_batches:
        for address, count in zip(batch.addresses, batch.pack_tokens, strict=True):
            tokens[address.source] += count
    mine = torch.tensor([step, len(micro_batches), masked, stop, superseded, *tokens], dtype=torch.int64, device=device)
    everyone = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(everyone, mine)
    reports = torch.stack(everyone).tolist()
    if any(report[:2] != reports[0][:2] for report in reports):
        places = ", ".join(f"rank {rank}: step {r[0]}, {r[1]} micro-batches" for rank, r in enumerate(reports))
        raise RuntimeError(f"the ranks have drifted apart ({places}); the step was not taken")
    return Agreement(
        masked=sum(report[2] for report in reports),
        source_tokens=tuple(map(sum, zip(*(report[5:] for report in reports), strict=True))),
        stop=any(report[3] for report in reports),
        superseded=any(report[4] for report in reports),
    )
