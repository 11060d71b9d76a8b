"""What all ranks agree on before each step.

Ranks that get out of step do not always hang: a rank that runs one micro-batch more than the others can silently pair
its collectives with the wrong ones. So before each step all ranks exchange their step and their counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist

from ...streaming_data.loader.batches import MicroBatch


@dataclass(frozen=True)
class Agreement:
    """Counts and requests of all ranks for the next step.

    Attributes:
        masked: masked tokens in the step.
        source_tokens: real tokens in the step, of each source.
        stop: some rank was requested to stop.
        superseded: rank 0 detected that a newer attempt owns the run.
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
    """Exchange the counts of one step. Every rank calls it.

    Args:
        sources: number of sources.
        stop, superseded: this rank's values; see `Agreement`.
    Raises:
        RuntimeError: the ranks are at different steps, or would run different numbers of micro-batches.
    """
    masked = sum(len(batch.targets) for batch in micro_batches)
    tokens = [0] * sources
    for batch in micro_batches:
        for address, count in zip(batch.addresses, batch.pack_tokens, strict=True):
            tokens[address.source] += count
    local = torch.tensor(
        [step, len(micro_batches), masked, stop, superseded, *tokens], dtype=torch.int64, device=device
    )
    gathered = [torch.empty_like(local) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, local)
    reports = torch.stack(gathered).tolist()
    if any(report[:2] != reports[0][:2] for report in reports):
        positions = ", ".join(f"rank {rank}: step {r[0]}, {r[1]} micro-batches" for rank, r in enumerate(reports))
        raise RuntimeError(f"the ranks are out of step ({positions}); the step was not taken")
    return Agreement(
        masked=sum(report[2] for report in reports),
        source_tokens=tuple(map(sum, zip(*(report[5:] for report in reports), strict=True))),
        stop=any(report[3] for report in reports),
        superseded=any(report[4] for report in reports),
    )
