"""What all ranks agree on before each step.

Ranks that get out of step do not always hang: a rank that runs one micro-batch more than the others can silently pair
its collectives with the wrong ones. So before each step all ranks exchange their step and their counts.

The exchange is between hosts. On a GPU the collectives of training run in the order in which they were queued, so an
exchange among them would wait until the device has caught up.

The exchange is also where they wait for data. A rank whose data is not there yet says so once per second, and all
exchange again. So a request to stop, or an error while reading, on any rank is known to all ranks within seconds,
whatever the others wait for, and all of them still have the healthy weights of the last completed step.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from ...configs.errors import UserError
from ...streaming_data.loader.batches import MicroBatch

POLL_SECONDS = 1.0
_WAITING, _READY, _FAILED = range(3)
Batch = TypeVar("Batch", bound=MicroBatch)


class DataFailedError(Exception):
    """Some rank could not prepare its data. All ranks raise this together, before the step.

    Attributes:
        error: the error to end with: the rank's own, or that of another rank.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(frozen=True)
class Agreement:
    """Counts and requests of all ranks for the next step.

    Attributes:
        masked: masked tokens in the step.
        source_tokens: real tokens in the step, of each source.
        stop: some rank was requested to stop. The data may be incomplete, and the counts are then too low.
        superseded: rank 0 detected that a newer attempt owns the run.
        lost: rank 0 detected that the run's directory was moved or removed.
        own: the further numbers of each rank.
    """

    masked: int
    source_tokens: tuple[int, ...]
    stop: bool
    superseded: bool
    lost: bool
    own: tuple[tuple[int, ...], ...]


def host_group(timeout_minutes: float) -> dist.ProcessGroup:
    """A process group of all ranks whose collectives involve no device. Every rank calls it."""
    group: dist.ProcessGroup = dist.new_group(backend="gloo", timeout=timedelta(minutes=timeout_minutes))
    return group


def agree(
    step: int,
    data: "Future[list[Batch]]",
    sources: int,
    group: dist.ProcessGroup,
    *,
    stop: Callable[[], bool] = lambda: False,
    superseded: Callable[[], bool] = lambda: False,
    lost: Callable[[], bool] = lambda: False,
    exchanged: Callable[[Sequence[int]], None] = lambda waiting: None,
    own: Sequence[int] = (),
) -> Agreement:
    """Exchange the counts of one step, as soon as all ranks have its data. Every rank calls it.

    Args:
        data: this rank's micro-batches.
        sources: number of sources.
        group: see `host_group`.
        stop, superseded, lost: this rank's values; see `Agreement`. If one of them is true, nobody waits for data.
        exchanged: called after each exchange with the ranks whose data is not there yet.
        own: further numbers of this rank, as many on all ranks.
    Raises:
        DataFailedError: some rank could not prepare its data.
        RuntimeError: the ranks are at different steps, or would run different numbers of micro-batches.
    """
    while True:
        wait([data], timeout=POLL_SECONDS)
        state = _state(data)
        micro_batches = data.result() if state == _READY else []
        masked, tokens = _counts(micro_batches, sources)
        report = [step, len(micro_batches), state, stop(), superseded(), lost(), masked, *tokens, *own]
        reports = _exchange(report, group)
        states = {report[2] for report in reports}
        exchanged([rank for rank, report in enumerate(reports) if report[2] == _WAITING])
        _require_same([report[:2] if states == {_READY} else [report[0], -1] for report in reports])
        agreement = Agreement(
            masked=sum(report[6] for report in reports),
            source_tokens=tuple(map(sum, zip(*(report[7 : 7 + sources] for report in reports), strict=True))),
            stop=any(report[3] for report in reports),
            superseded=any(report[4] for report in reports),
            lost=any(report[5] for report in reports),
            own=tuple(tuple(report[7 + sources :]) for report in reports),
        )
        if states == {_READY} or agreement.stop or agreement.superseded or agreement.lost:
            return agreement
        if _FAILED in states:
            raise DataFailedError(_first_error(data))


def _state(data: "Future[Any]") -> int:
    if not data.done():
        return _WAITING
    return _READY if data.exception() is None else _FAILED


def _counts(micro_batches: Sequence[MicroBatch], sources: int) -> tuple[int, list[int]]:
    """(masked tokens, real tokens of each source)."""
    tokens = [0] * sources
    for batch in micro_batches:
        for address, count in zip(batch.addresses, batch.pack_tokens, strict=True):
            tokens[address.source] += count
    return sum(len(batch.targets) for batch in micro_batches), tokens


def _exchange(report: list[int], group: dist.ProcessGroup) -> list[list[int]]:
    """The reports of all ranks. Rank 0 collects and distributes them: gloo's all_gather takes a turn for each rank."""
    if dist.get_world_size() == 1:
        return [list(map(int, report))]
    local = torch.tensor(report, dtype=torch.int64)
    reports = local.new_empty(dist.get_world_size(), len(report))
    dist.gather(local, list(reports) if dist.get_rank() == 0 else None, dst=0, group=group)
    dist.broadcast(reports, src=0, group=group)
    gathered: list[list[int]] = reports.tolist()
    return gathered


def _require_same(positions: Sequence[Sequence[int]]) -> None:
    """Require that all ranks report the same [step, number of micro-batches]; -1 batches if they are not all known."""
    if any(position != positions[0] for position in positions):
        described = ", ".join(
            f"rank {rank}: step {step}" + (f", {batches} micro-batches" if batches >= 0 else "")
            for rank, (step, batches) in enumerate(positions)
        )
        raise RuntimeError(f"the ranks are out of step ({described}); the step was not taken")


def _first_error(data: "Future[Any]") -> BaseException:
    """The error of the first rank that has one, so that all ranks end with the same one. Every rank calls it."""
    own = data.exception() if data.done() else None
    known = (type(own), str(own)) if isinstance(own, UserError) else None
    errors: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(errors, known or (type(own).__name__ if own else None))
    if own is not None and known is None:
        return own  # with its traceback
    rank, first = next((rank, error) for rank, error in enumerate(errors) if error)
    if isinstance(first, str):
        return RuntimeError(f"rank {rank} could not prepare its data ({first}, see its output)")
    kind, message = first
    error: BaseException = kind(message)
    return error
