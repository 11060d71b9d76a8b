"""Which pack comes n-th in training, as a pure function of (sources, weights, limits, seed, n).

The order is computed in four steps:

1. The packs of each source form an endless stream: one epoch after another, each shuffled anew inside windows of
   shards, so that a node needs only a few shards at a time. The stream position j of source i fixes (epoch, pack).
2. Packs of each source are assigned evenly spaced, jittered timestamps: position j of source i gets the timestamp
   (j + u) / weight_i, with the jitter u sampled from [0, 1) for each (i, j). Training order is ascending timestamp.
3. Timestamps are divided into blocks. The number of packs of each source before a block follows from its start alone,
   so the block with pack n is computed directly, without iterating over the packs before it.
4. Within the block, the packs of all sources are sorted by timestamp.

Consequences:

- The first n packs hold weight_i * n packs of source i, to within 1 + weight_i * (sources - 2): the mix is right from
  the first step on, not only on average.
- With weights proportional to the number of packs, all sources end their epochs at the same time: one epoch of the
  mix is every pack once.
- A source with a limit is a stream that ends. The timestamps of the others do not change, so its share goes to them in
  proportion to their weights.
- The only state is the number of packs consumed. A resume at another world size continues with the next pack.

Timestamps are compared as integers, so all of this holds exactly and at any n.
"""

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .counter_rng import permutation, random_bits

_BLOCK = 1024
_TICK_BITS = 32
_TICKS = 1 << _TICK_BITS


class PackAddress(NamedTuple):
    """One pack of one source in one epoch of that source: the seed of its masks."""

    source: int
    epoch: int
    pack: int


class Order:
    """The mixed order of packs, endless unless every source has a limit.

    Args:
        shard_sizes: for each source, the number of packs in each of its shards.
        weights: for each source, its share of the packs, in any unit.
        seed: of the shuffle and of the interleaving.
        window: how many shards of a source are shuffled together.
        limits: for each source, the total number of its packs in training, repeats counted; None: no limit.
    Attributes:
        weights: normalized to sum to one.
        rates: the same as integers in exactly this proportion.
        packs: of each source.
        first_packs: for each source, the first pack of each of its shards, and the number of its packs.
        limits: as given.
        length: the number of packs of the order; infinite if a source has no limit.
    """

    def __init__(
        self,
        shard_sizes: Sequence[Sequence[int]],
        weights: Sequence[float],
        seed: int,
        window: int = 16,
        limits: Sequence[int | None] | None = None,
    ) -> None:
        if len(weights) != len(shard_sizes) or not all(0 < weight < math.inf for weight in weights):
            raise ValueError(f"expected one positive weight for each of {len(shard_sizes)} sources; got {[*weights]}")
        if any(sum(sizes) == 0 for sizes in shard_sizes):
            raise ValueError("every source needs at least one pack")
        if limits and (len(limits) != len(weights) or any(limit is not None and limit < 1 for limit in limits)):
            raise ValueError(f"expected a limit of at least one pack, or none, for each source; got {[*limits]}")
        self.shard_sizes = [list(sizes) for sizes in shard_sizes]
        self.seed = seed
        self.window = window
        self.rates = _integer_ratio(weights)
        self._total_rate = sum(self.rates)
        self._common_multiple = math.lcm(*self.rates)
        self.weights = [rate / self._total_rate for rate in self.rates]
        self.limits = [*limits] if limits else [None] * len(weights)
        self._limits = [math.inf if limit is None else limit for limit in self.limits]
        self.length = sum(self._limits)
        self._phases = _phases(self.rates, self._limits)
        self.first_packs = [[0, *accumulate(sizes)] for sizes in self.shard_sizes]
        self.packs = [firsts[-1] for firsts in self.first_packs]
        # One block, and of each source one epoch and one window, are in use at a time, two while one ends and the next
        # begins.
        sources = len(self.rates)
        self._block = lru_cache(maxsize=2)(self._compute_block)
        self._jitters = lru_cache(maxsize=4 * sources)(self._compute_jitters)
        self._epoch = lru_cache(maxsize=2 * sources)(self._compute_epoch)
        self._shuffled = lru_cache(maxsize=2 * sources)(self._compute_shuffled)

    def between(self, start: int, stop: int, stride: int = 1) -> list[PackAddress]:
        """The packs of training with numbers in `range(start, stop, stride)`; `stop` is at most `length`."""
        return [self._address(*pack) for pack in self.positions(start, stop)[::stride]]

    def positions(self, start: int, stop: int) -> list[tuple[int, int]]:
        """(source, position in it) of the packs of training with numbers in `range(start, stop)`."""
        if stop > self.length:
            raise ValueError(
                f"pack {stop - 1:,} was requested, but every source has a limit: the order ends with "
                f"{self.length:,} packs"
            )
        block, first = self._block_with(start)
        packs: list[tuple[int, int]] = []
        while first + len(packs) < stop:
            packs.extend(self._block(block))
            block += 1
        return packs[start - first : stop - first]

    def source_counts(self, number: int) -> list[int]:
        """How many packs of each source are among the first `number` of training."""
        block, first = self._block_with(number)
        within = Counter(source for source, _ in self._block(block)[: number - first])
        return [self._count_before(source, block) + within[source] for source in range(len(self.rates))]

    def share(self, start: int, stop: int, rank: int, world_size: int) -> Sequence[PackAddress]:
        """The packs of one rank in the step that reads packs `range(start, stop)`: every `world_size`-th of them."""
        return self.between(start + rank, stop, world_size)

    def number_of(self, source: int, position: int) -> int:
        """Which pack of training is the source's pack at `position`, which is below its limit."""
        timestamp = position * _TICKS + self._jitter(source, position)
        block = -(-(timestamp + 1) * self._total_rate // (_BLOCK * _TICKS * self.rates[source])) - 1
        return self._total_before(block) + self._block(block).index((source, position))

    def shards_ahead(self, start: int) -> list[tuple[int, int]]:
        """(source, shard) of the shards that pack number `start` and the next packs are in: for each source, its
        current window and the next one."""
        ahead: list[tuple[int, int]] = []
        for source, (position, limit) in enumerate(zip(self.source_counts(start), self._limits, strict=True)):
            if position < limit:
                epoch, window, _ = self._locate(source, position)
                shards = [*self._epoch(source, epoch).shards, *self._epoch(source, epoch + 1).shards]
                ahead.extend((source, shard) for shard in shards[window * self.window :][: 2 * self.window])
        return list(dict.fromkeys(ahead))

    def _block_with(self, number: int) -> tuple[int, int]:
        """The block that contains pack `number`, and the number of the block's first pack. For `number` equal to the
        length of the order, the block after the last."""
        phase = self._phases[bisect_right(self._phases, Fraction(number), key=lambda phase: phase.first) - 1]
        block = math.floor((phase.start + (number - phase.first) / phase.rate) / _BLOCK)
        while self._total_before(block) > number:
            block -= 1
        while self._total_before(block + 1) <= number < self.length:
            block += 1
        return block, self._total_before(block)

    def _total_before(self, block: int) -> int:
        """The number of packs before the block."""
        return sum(self._count_before(source, block) for source in range(len(self.rates)))

    def _count_before(self, source: int, block: int) -> int:
        """The number of packs of the source before the block, at most its limit: those whose interval ends before the
        block, and the one whose interval contains the block's start if its jitter places it earlier."""
        complete, rest = divmod(block * _BLOCK * _TICKS * self.rates[source] // self._total_rate, _TICKS)
        limit = self._limits[source]
        return int(limit) if complete >= limit else complete + (self._jitter(source, complete) < rest)

    def _jitter(self, source: int, position: int) -> int:
        """u of the source's pack at `position`, in ticks."""
        return self._jitters(source, position // _BLOCK)[position % _BLOCK]

    def _compute_jitters(self, source: int, chunk: int) -> list[int]:
        bits = random_bits(_BLOCK, self.seed, "phase", source, chunk)
        return (bits >> np.uint64(64 - _TICK_BITS)).tolist()

    def _compute_block(self, block: int) -> list[tuple[int, int]]:
        """(source, position) of the packs of the block, in order of their timestamps."""
        packs: list[tuple[int, int, int]] = []
        for source, rate in enumerate(self.rates):
            interval = self._common_multiple // rate  # between two packs of the source, in a unit common to all sources
            positions = range(self._count_before(source, block), self._count_before(source, block + 1))
            packs.extend(((j * _TICKS + self._jitter(source, j)) * interval, source, j) for j in positions)
        return [(source, position) for _, source, position in sorted(packs)]

    def _address(self, source: int, position: int) -> PackAddress:
        epoch, window, offset = self._locate(source, position)
        return PackAddress(source, epoch, int(self._shuffled(source, epoch, window)[offset]))

    def _locate(self, source: int, position: int) -> tuple[int, int, int]:
        """(epoch, window, offset in the window) of the source's pack at `position`."""
        epoch, position = divmod(position, self.first_packs[source][-1])
        ends = self._epoch(source, epoch).window_ends
        window = bisect_right(ends, position)
        return epoch, window, position - (ends[window - 1] if window else 0)

    def _compute_epoch(self, source: int, epoch: int) -> "_Epoch":
        sizes = self.shard_sizes[source]
        shards = permutation(len(sizes), self.seed, "shards", source, epoch).tolist()
        windows = [shards[first : first + self.window] for first in range(0, len(shards), self.window)]
        return _Epoch(shards, list(accumulate(sum(sizes[shard] for shard in window) for window in windows)))

    def _compute_shuffled(self, source: int, epoch: int, window: int) -> npt.NDArray[np.int64]:
        """The packs of one window in the order of one epoch."""
        first = self.first_packs[source]
        shards = self._epoch(source, epoch).shards[window * self.window :][: self.window]
        packs = np.concatenate([np.arange(first[shard], first[shard + 1]) for shard in shards])
        return packs[permutation(len(packs), self.seed, "packs", source, epoch, window)]


class _Epoch(NamedTuple):
    """The shards of a source in the order of one epoch, and the number of packs up to the end of each window."""

    shards: list[int]
    window_ends: list[int]


class _Phase(NamedTuple):
    """An interval of the order in which the set of sources does not change, with all jitters taken as one.

    Attributes:
        first: number of packs before the phase.
        start: timestamp, in packs of an order without limits.
        rate: packs per unit of time.
    """

    first: Fraction
    start: Fraction
    rate: Fraction


def _phases(integer_rates: Sequence[int], limits: Sequence[float]) -> list[_Phase]:
    """The phases of the order; a new one begins where a source reaches its limit."""
    rates = [Fraction(rate, sum(integer_rates)) for rate in integer_rates]
    ends = {i: int(limit) / rates[i] for i, limit in enumerate(limits) if limit < math.inf}
    phases = []
    for start in [Fraction(0), *sorted(set(ends.values()))]:
        first = sum((min(start, ends.get(i, start)) * rate for i, rate in enumerate(rates)), Fraction(0))
        rate = sum((rate for i, rate in enumerate(rates) if ends.get(i, start + 1) > start), Fraction(0))
        phases.append(_Phase(first, start, rate or Fraction(1)))
    return phases


def _integer_ratio(weights: Sequence[float]) -> list[int]:
    """The weights as integers in exactly the same proportion."""
    exact = [Fraction(weight) for weight in weights]
    unit = math.lcm(*(weight.denominator for weight in exact))
    integers = [int(weight * unit) for weight in exact]
    return [number // math.gcd(*integers) for number in integers]
