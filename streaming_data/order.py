"""Which pack comes n-th in training, as a pure function of (sources, weights, seed, n).

Think of every source as a train of packs passing at a constant rate, its weight: the j-th pack of source i passes at
time (j + u) / weight_i, with u drawn from [0, 1) for each (i, j). The order of training is the order of passing. So

- over any stretch of n packs source i holds weight_i * n of them, within one pack or two: the mix is right from the
  first step on, not on average;
- with weights proportional to the number of packs, all sources end their epochs at the same time: one epoch of the
  mix is every pack once;
- nothing is kept but the number of packs consumed. A resume at another world size continues with the next one.

Within a source, packs are shuffled anew each epoch inside windows of shards, so that a node needs only a few shards
at a time.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .counter_rng import permutation, uniform

_BLOCK = 1024


class PackAddress(NamedTuple):
    """One pack of one source in one epoch of that source: what its masks are seeded with."""

    source: int
    epoch: int
    pack: int


class Order:
    """The endless mixed order of packs.

    Args:
        shard_sizes: for each source, the number of packs in each of its shards.
        weights: for each source, its share of the packs; they sum to one.
        seed: of the shuffle and of the interleaving.
        window: how many shards of a source are shuffled together.
    """

    def __init__(
        self, shard_sizes: Sequence[Sequence[int]], weights: Sequence[float], seed: int, window: int = 16
    ) -> None:
        if len(weights) != len(shard_sizes) or abs(sum(weights) - 1) > 1e-9 or min(weights) <= 0:
            raise ValueError(f"one positive weight a source, summing to one; got {list(weights)}")
        if any(sum(sizes) == 0 for sizes in shard_sizes):
            raise ValueError("every source needs at least one pack")
        self.shard_sizes = [list(sizes) for sizes in shard_sizes]
        self.weights = list(weights)
        self.seed = seed
        self.window = window
        # One block and one epoch a source are in use at a time; the second entry serves the crossing.
        self._block = lru_cache(maxsize=2)(self._compute_block)
        self._phases = lru_cache(maxsize=4 * len(self.weights))(self._compute_phases)
        self._shuffle = lru_cache(maxsize=2 * len(self.weights))(self._compute_shuffle)

    def between(self, start: int, stop: int) -> list[PackAddress]:
        """The packs number start, ..., stop - 1 of training."""
        block = max(0, (start - len(self.weights)) // _BLOCK)
        while self._before(block + 1) <= start:
            block += 1
        first = self._before(block)
        addresses: list[PackAddress] = []
        while first + len(addresses) < stop:
            addresses.extend(self._block(block))
            block += 1
        return addresses[start - first : stop - first]

    def _before(self, block: int) -> int:
        """How many packs pass before the block begins."""
        return sum(self._passed(source, block * _BLOCK) for source in range(len(self.weights)))

    def _passed(self, source: int, time: float) -> int:
        """How many packs of the source pass before `time`: all whose whole interval lies before it, and perhaps
        the one whose interval it cuts."""
        intervals = self.weights[source] * time
        whole = int(intervals)
        return whole + bool(self._phase(source, whole) < intervals - whole)

    def _phase(self, source: int, position: int) -> float:
        return float(self._phases(source, position // _BLOCK)[position % _BLOCK])

    def _compute_phases(self, source: int, chunk: int) -> npt.NDArray[np.float64]:
        return uniform(_BLOCK, self.seed, "phase", source, chunk)

    def _compute_block(self, block: int) -> list[PackAddress]:
        """The packs that pass during the block, in order."""
        passing: list[tuple[float, int, int]] = []
        for source, weight in enumerate(self.weights):
            positions = range(self._passed(source, block * _BLOCK), self._passed(source, (block + 1) * _BLOCK))
            passing.extend(((j + self._phase(source, j)) / weight, source, j) for j in positions)
        return [self._address(source, position) for _, source, position in sorted(passing)]

    def _address(self, source: int, position: int) -> PackAddress:
        epoch, position = divmod(position, sum(self.shard_sizes[source]))
        return PackAddress(source, epoch, int(self._shuffle(source, epoch)[position]))

    def _compute_shuffle(self, source: int, epoch: int) -> npt.NDArray[np.int64]:
        """The source's packs in the order of one epoch: shards shuffled, then packs within windows of shards."""
        sizes = np.asarray(self.shard_sizes[source])
        starts = np.cumsum(sizes) - sizes
        shards = permutation(len(sizes), self.seed, "shards", source, epoch)
        windows = []
        for number, at in enumerate(range(0, len(shards), self.window)):
            chosen = shards[at : at + self.window]
            packs = np.concatenate([np.arange(starts[s], starts[s] + sizes[s]) for s in chosen])
            windows.append(packs[permutation(len(packs), self.seed, "packs", source, epoch, number)])
        return np.concatenate(windows)
