"""The time that a rank itself needs for its steps, without the time in which it waits for other ranks.

It waits for its data, and it computes. What it computes before the exchange of gradients needs no other rank: forward
and backward at ZeRO-0 and 1, which exchange at the end of a step; forward only at ZeRO-2 and 3, which exchange during
backward. Partitioned ZeRO-3 gathers weights in forward too, so there all ranks compute for as long as the slowest.

The times are added up from the start. So they can be exchanged at any step, and a difference is a mean over its steps.
"""

import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

from ..streaming_data.loader.batches import MicroBatch
from .copies import runs_ahead
from .metrics.stragglers import RankTotals

EXCHANGES_IN_BACKWARD = 2
"""From this ZeRO stage on."""


class Pace:
    """Adds up the times of one rank, and never waits for its device: a step counts when the device is past it."""

    def __init__(self, stage: int, device: torch.device) -> None:
        self._whole = stage < EXCHANGES_IN_BACKWARD
        self._device = device
        self._spans: list[_Span] = []
        self._waiting: deque[tuple[RankTotals, list[_Span]]] = deque()
        self._totals = RankTotals()

    def computing(self) -> AbstractContextManager[None]:
        """Around forward and backward of all micro-batches of a step."""
        return self._measured() if self._whole else nullcontext()

    def forward(self) -> AbstractContextManager[None]:
        """Around forward of one micro-batch."""
        return nullcontext() if self._whole else self._measured()

    def end_step(self, data_wait: float, micro_batches: Sequence[MicroBatch]) -> None:
        """Count the step whose data was waited for during `data_wait` seconds."""
        packs = sum(len(batch.addresses) for batch in micro_batches)
        self._waiting.append((RankTotals(1, packs, round(1e6 * data_wait), 0), self._spans))
        self._spans = []

    def totals(self) -> RankTotals:
        """Of the steps that the device has done, as far as is known without waiting."""
        while self._waiting and all(span.arrived() for span in self._waiting[0][1]):
            step, spans = self._waiting.popleft()
            computing = round(1e6 * sum(span.seconds() for span in spans))
            self._totals = self._totals.plus(step._replace(computing=computing))
        return self._totals

    @contextmanager
    def _measured(self) -> Iterator[None]:
        span = _Span(self._device)
        yield
        span.end()
        self._spans.append(span)


class _Span:
    """The time between two moments of the device, or of the host where that is the device."""

    def __init__(self, device: torch.device) -> None:
        self._events: Any = None
        if runs_ahead(device):
            self._events = [torch.cuda.Event(enable_timing=True) for _ in range(2)]
            self._events[0].record()
        self._begin = self._end = time.perf_counter()

    def end(self) -> None:
        if self._events:
            self._events[1].record()
        self._end = time.perf_counter()

    def arrived(self) -> bool:
        return self._events is None or bool(self._events[1].query())

    def seconds(self) -> float:
        return self._events[0].elapsed_time(self._events[1]) / 1e3 if self._events else self._end - self._begin
