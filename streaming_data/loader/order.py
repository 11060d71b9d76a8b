"""Which pack comes n-th in training, as a pure function of (sources, weights, limits, seed, n).

Think of every source as a train of packs passing at a constant rate, its weight: the j-th pack of source i passes at
time (j + u) / weight_i, with u drawn from [0, 1) for each (i, j). The order of training is the order of passing. So

- the first n packs hold weight_i * n of source i, give or take less than 1 + weight_i * (sources - 2): the mix is
  right from the first step on, not on average;
- with weights proportional to the number of packs, all sources end their epochs at the same time: one epoch of the
  mix is every pack once;
- a source with a limit is a train that ends. Nothing else changes: the others pass on at their rates, so its share
  goes to them in proportion to their weights;
- nothing is kept but the number of packs consumed. A resume at another world size continues with the next one.

Times are compared as whole numbers, so that this holds exactly and at any n.

Within a source, packs are shuffled anew each epoch inside windows of shards, so that a node needs only a few shards
at a time.
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
    """One pack of one source in one epoch of that source: what its masks are seeded with."""

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
        limits: for each source, how many of its packs are ever drawn, repeats counted; None: no limit.
    Attributes:
        weights: the same as shares that sum to one.
        limits: as given.
        length: how many packs there are in all; infinite if a source has no limit.
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
        self._shares = _whole_numbers(weights)
        self._total = sum(self._shares)
        self._common = math.lcm(*self._shares)
        self.weights = [share / self._total for share in self._shares]
        self.limits = [*limits] if limits else [None] * len(weights)
        self._limits = [math.inf if limit is None else limit for limit in self.limits]
        self.length = sum(self._limits)
        self._legs = _legs(self._shares, self._limits)
        self._first_packs = [[0, *accumulate(sizes)] for sizes in self.shard_sizes]
        # A block, an epoch and a window of a source are in use at a time; the second entry serves the crossing.
        sources = len(self._shares)
        self._block = lru_cache(maxsize=2)(self._compute_block)
        self._phases = lru_cache(maxsize=4 * sources)(self._compute_phases)
        self._epoch = lru_cache(maxsize=2 * sources)(self._compute_epoch)
        self._shuffled = lru_cache(maxsize=2 * sources)(self._compute_shuffled)

    def between(self, start: int, stop: int, stride: int = 1) -> list[PackAddress]:
        """The packs of training whose numbers are in `range(start, stop, stride)`; `stop` is at most `length`."""
        if stop > self.length:
            raise ValueError(
                f"pack {stop - 1:,} was asked for, but every source has a limit: the order ends with "
                f"{self.length:,} packs"
            )
        block, first = self._block_with(start)
        passing: list[tuple[int, int]] = []
        while first + len(passing) < stop:
            passing.extend(self._block(block))
            block += 1
        return [self._address(*pack) for pack in passing[start - first : stop - first : stride]]

    def drawn(self, number: int) -> list[int]:
        """How many packs of each source are among the first `number` of training."""
        block, first = self._block_with(number)
        within = Counter(source for source, _ in self._block(block)[: number - first])
        return [self._passed(source, block) + within[source] for source in range(len(self._shares))]

    def shards_ahead(self, start: int) -> list[tuple[int, int]]:
        """(source, shard) of those that pack number `start` and the next ones lie in: of each source the window that
        it has reached, and the one after that."""
        ahead: list[tuple[int, int]] = []
        for source, (position, limit) in enumerate(zip(self.drawn(start), self._limits, strict=True)):
            if position < limit:
                epoch, window, _ = self._place(source, position)
                shards = [*self._epoch(source, epoch).shards, *self._epoch(source, epoch + 1).shards]
                ahead.extend((source, shard) for shard in shards[window * self.window :][: 2 * self.window])
        return list(dict.fromkeys(ahead))

    def _block_with(self, number: int) -> tuple[int, int]:
        """The block in which pack `number` passes, and the number of its first pack; of the order's length, the block
        after the last."""
        leg = self._legs[bisect_right(self._legs, Fraction(number), key=lambda leg: leg.first) - 1]
        block = math.floor((leg.begins + (number - leg.first) / leg.rate) / _BLOCK)
        while self._before(block) > number:
            block -= 1
        while self._before(block + 1) <= number < self.length:
            block += 1
        return block, self._before(block)

    def _before(self, block: int) -> int:
        """How many packs pass before the block begins."""
        return sum(self._passed(source, block) for source in range(len(self._shares)))

    def _passed(self, source: int, block: int) -> int:
        """How many packs of the source pass before the block begins: all whose whole interval lies before it, and
        perhaps the one whose interval it cuts; never more than the limit."""
        whole, rest = divmod(block * _BLOCK * _TICKS * self._shares[source] // self._total, _TICKS)
        limit = self._limits[source]
        return int(limit) if whole >= limit else whole + (self._phase(source, whole) < rest)

    def _phase(self, source: int, position: int) -> int:
        """u of the source's pack at `position`, in ticks."""
        return self._phases(source, position // _BLOCK)[position % _BLOCK]

    def _compute_phases(self, source: int, chunk: int) -> list[int]:
        bits = random_bits(_BLOCK, self.seed, "phase", source, chunk)
        return (bits >> np.uint64(64 - _TICK_BITS)).tolist()

    def _compute_block(self, block: int) -> list[tuple[int, int]]:
        """(source, position) of the packs that pass during the block, in order."""
        passing: list[tuple[int, int, int]] = []
        for source, share in enumerate(self._shares):
            slowness = self._common // share
            positions = range(self._passed(source, block), self._passed(source, block + 1))
            passing.extend(((j * _TICKS + self._phase(source, j)) * slowness, source, j) for j in positions)
        return [(source, position) for _, source, position in sorted(passing)]

    def _address(self, source: int, position: int) -> PackAddress:
        epoch, window, at = self._place(source, position)
        return PackAddress(source, epoch, int(self._shuffled(source, epoch, window)[at]))

    def _place(self, source: int, position: int) -> tuple[int, int, int]:
        """(epoch, window, place in the window) of the source's pack at `position`."""
        epoch, position = divmod(position, self._first_packs[source][-1])
        ends = self._epoch(source, epoch).ends
        window = bisect_right(ends, position)
        return epoch, window, position - (ends[window - 1] if window else 0)

    def _compute_epoch(self, source: int, epoch: int) -> "_Epoch":
        sizes = self.shard_sizes[source]
        shards = permutation(len(sizes), self.seed, "shards", source, epoch).tolist()
        windows = [shards[at : at + self.window] for at in range(0, len(shards), self.window)]
        return _Epoch(shards, list(accumulate(sum(sizes[shard] for shard in window) for window in windows)))

    def _compute_shuffled(self, source: int, epoch: int, window: int) -> npt.NDArray[np.int64]:
        """The packs of one window in the order of one epoch."""
        first = self._first_packs[source]
        chosen = self._epoch(source, epoch).shards[window * self.window :][: self.window]
        packs = np.concatenate([np.arange(first[shard], first[shard + 1]) for shard in chosen])
        return packs[permutation(len(packs), self.seed, "packs", source, epoch, window)]


class _Epoch(NamedTuple):
    """The shards of a source as one epoch takes them, and how many packs there are up to the end of each window."""

    shards: list[int]
    ends: list[int]


class _Leg(NamedTuple):
    """A stretch of the order in which the same sources pass, as it would be if each pack passed at the end of its
    interval.

    Attributes:
        first: packs that have passed when it begins.
        begins: the time, in packs of an order without limits.
        rate: packs in a unit of time.
    """

    first: Fraction
    begins: Fraction
    rate: Fraction


def _legs(shares: Sequence[int], limits: Sequence[float]) -> list[_Leg]:
    rates = [Fraction(share, sum(shares)) for share in shares]
    ends = {i: int(limit) / rates[i] for i, limit in enumerate(limits) if limit < math.inf}
    legs = []
    for begins in [Fraction(0), *sorted(set(ends.values()))]:
        first = sum((min(begins, ends.get(i, begins)) * rate for i, rate in enumerate(rates)), Fraction(0))
        rate = sum((rate for i, rate in enumerate(rates) if ends.get(i, begins + 1) > begins), Fraction(0))
        legs.append(_Leg(first, begins, rate or Fraction(1)))
    return legs


def _whole_numbers(weights: Sequence[float]) -> list[int]:
    """The weights as whole numbers in exactly the same proportion."""
    exact = [Fraction(weight) for weight in weights]
    unit = math.lcm(*(weight.denominator for weight in exact))
    whole = [int(weight * unit) for weight in exact]
    return [number // math.gcd(*whole) for number in whole]
