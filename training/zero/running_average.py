"""A running average of the weights, partitioned as they are: each rank keeps that of its own shards.

Until 1 / (1 - decay) steps it is the mean of the weights after every step; from then on it is exponential. So it does
not remember what the run started from for longer than it should.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from .parameter_shards import ParameterShard, parameter_shards, update_model_weights


class RunningAverage:
    """The average of an engine's fp32 weights, which begins as a copy of them."""

    def __init__(self, engine: Any, decay: float) -> None:
        self._engine, self._decay = engine, decay
        flats = {id(shard.flat): shard.flat for shard in parameter_shards(engine)}
        self._flats = list(flats.values())
        self._averages = [flat.detach().clone() for flat in self._flats]
        self._index = {key: number for number, key in enumerate(flats)}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Add the weights after step `step`, counted from 0."""
        share = max(1 - self._decay, 1 / (step + 1))
        for average, weights in zip(self._averages, self._flats, strict=True):
            average.lerp_(weights, share)

    def view(self, shard: ParameterShard) -> torch.Tensor:
        """The average of a shard's elements, fp32 (numel,)."""
        return shard.view_in(self._averages[self._index[id(shard.flat)]])

    @contextmanager
    def in_the_model(self) -> Iterator[None]:
        """Compute with the average instead of the weights. Every rank enters it."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        for average, weights in zip(self._averages, self._flats, strict=True):
            kept = weights.clone()
            weights.copy_(average)
            average.copy_(kept)
        update_model_weights(self._engine)


def keep_running_average(engine: Any, decay: float) -> None:
    """Let an engine have a running average, which checkpoints save and restore."""
    engine.running_average = RunningAverage(engine, decay)


def running_average(engine: Any) -> RunningAverage | None:
    """The engine's running average, if it has one."""
    found: RunningAverage | None = getattr(engine, "running_average", None)
    return found
