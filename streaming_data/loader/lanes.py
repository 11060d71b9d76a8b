"""Which pack comes n-th if each node should need a few shards only, again as a pure function of n.

The packs of training are numbered as in `order.py`. L consecutive numbers are a round, and the round has L lanes. How
many packs of each source a round holds is what `Order` counts, so shares, limits and epochs are those of `Order`. Only
which pack of a source comes when differs:

1. A source has lanes of its own, as many as each round is certain to fill, interleaved with those of other sources.
   The few packs beyond them fill the mixed lanes, which are side by side: few nodes read their shards.
2. An epoch of a source is its shuffled shards in a row. Each own lane walks through a stretch of the row, one shard
   after another, whose packs are shuffled. All stretches of an epoch end at about the same time. Every other lane
   walks backwards, so two neighbors are in the shard that they share at the same time.
3. The mixed lanes read the rest of the row, in a few stretches.
4. The packs of a step are sorted by lane, and a rank takes a run of them. So from step to step a rank, and a node,
   stays in the same lanes and needs a new shard only where a lane begins one.

Where lanes begin and end follows from the numbers of two packs (`Order.number_of`), without iterating: pack 10^12 is
computed like pack 0. A round in which a source ends, which gives its lanes to the others, has mixed lanes only, and so
have all rounds of few lanes.
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

from .counter_rng import permutation
from .order import Order, PackAddress

_MIXED_STRETCHES = 4
_GOLDEN = (math.sqrt(5) - 1) / 2
_MIXED = -1


class LaneOrder:
    """The order of `mix`, in lanes.

    Args:
        mix: numbers the packs of each source.
        lanes: packs per round. Nodes read disjoint shards if the packs of a step are a multiple of it.
    Attributes:
        weights, limits, length: those of `mix`.
    """

    def __init__(self, mix: Order, lanes: int) -> None:
        if lanes < 1:
            raise ValueError(f"expected at least one lane; got {lanes}")
        self.mix = mix
        self.lanes = lanes
        self.weights, self.limits, self.length = mix.weights, mix.limits, mix.length
        # Multiples of a number without a factor in common with the lanes: packs of any step are spread over all lanes.
        self._stride = next(n for n in range(max(1, round(lanes * _GOLDEN)), 2 * lanes + 1) if math.gcd(n, lanes) == 1)
        self._before = lru_cache(maxsize=1 << 10)(self._compute_before)
        self._positions = lru_cache(maxsize=4)(self._compute_positions)
        self._span = lru_cache(maxsize=1 << 10)(self._compute_span)
        self._epoch = lru_cache(maxsize=4 * len(self.weights))(self._compute_epoch)
        self._shuffled = lru_cache(maxsize=2 * lanes + 64)(self._compute_shuffled)
        self._legs = self._compute_legs()
        self._shared = lru_cache(maxsize=32)(self._compute_share)

    def between(self, start: int, stop: int, stride: int = 1) -> list[PackAddress]:
        """The packs of training with numbers in `range(start, stop, stride)`; `stop` is at most `length`."""
        self._require(stop)
        return [self._address(*self._place(number)) for number in range(start, stop, stride)]

    def share(self, start: int, stop: int, rank: int, world_size: int) -> Sequence[PackAddress]:
        """The packs of one rank in the step that reads the packs `range(start, stop)`: a run of neighboring lanes.

        All ranks together read each pack once. Their shares are equal, or differ by one pack.
        """
        return self._shared(start, stop, rank, world_size)

    def source_counts(self, number: int) -> list[int]:
        """How many packs of each source are among the first `number` of training."""
        self._require(number)
        round_ = number // self.lanes
        within = Counter(self._slot(*self._place(earlier))[0] for earlier in range(round_ * self.lanes, number))
        return [count + within[source] for source, count in enumerate(self._before(round_))]

    def _require(self, stop: int) -> None:
        if stop > self.length:
            raise ValueError(
                f"pack {stop - 1:,} was requested, but every source has a limit: the order ends with "
                f"{self.length:,} packs"
            )

    def _compute_share(self, start: int, stop: int, rank: int, world_size: int) -> tuple[PackAddress, ...]:
        self._require(stop)
        places = sorted((self._place(number) for number in range(start, stop)), key=lambda place: place[::-1])
        mine = places[rank * len(places) // world_size : (rank + 1) * len(places) // world_size]
        return tuple(self._address(*place) for place in mine)

    def _place(self, number: int) -> tuple[int, int]:
        """(round, lane) of a pack. Rounds without own lanes are read as `mix` numbers them."""
        round_, position = divmod(number, self.lanes)
        has_own = any(self._legs[self._leg(round_)].own)
        return round_, position * self._stride % self.lanes if has_own else position

    def _compute_before(self, round_: int) -> list[int]:
        """How many packs of each source are before a round."""
        number = round_ * self.lanes
        return self.mix.source_counts(number if number <= self.length else int(self.length))

    def _compute_positions(self, round_: int) -> list[tuple[int, int]]:
        start = round_ * self.lanes
        return self.mix.positions(start, start + self.lanes if start + self.lanes < self.length else int(self.length))

    def _compute_legs(self) -> list["_Leg"]:
        ends = {
            self.mix.number_of(source, limit - 1) // self.lanes
            for source, limit in enumerate(self.limits)
            if limit is not None
        }
        starts = sorted({0, *ends, *(end + 1 for end in ends)})
        return [self._compute_leg(start, is_mixed=start in ends) for start in starts]

    def _compute_leg(self, start: int, is_mixed: bool) -> "_Leg":
        counts = self._before(start)
        rates = [
            0 if limit is not None and count >= limit else rate
            for rate, limit, count in zip(self.mix.rates, self.limits, counts, strict=True)
        ]
        sources = len(rates) - rates.count(0)
        own = [
            0 if is_mixed or not rate else _certain_packs(Fraction(rate, sum(rates)), self.lanes, sources)
            for rate in rates
        ]
        rows = [((lane + 0.5) / count, source, lane) for source, count in enumerate(own) for lane in range(count)]
        slots = [(source, lane) for _, source, lane in sorted(rows)]
        return _Leg(start, tuple(own), (*slots, *((_MIXED, lane) for lane in range(self.lanes - len(slots)))))

    def _leg(self, round_: int) -> int:
        return bisect_right(self._legs, round_, key=lambda leg: leg.start) - 1

    def _slot(self, round_: int, lane: int) -> tuple[int, int]:
        """(source, which pack of that source in the round) of a lane."""
        leg = self._legs[self._leg(round_)]
        if not any(leg.own):
            source, position = self._positions(round_)[lane]
            return source, position - self._before(round_)[source]
        source, ordinal = leg.slots[lane]
        if source != _MIXED:
            return source, ordinal
        for candidate, own in enumerate(leg.own):
            beyond = self._before(round_ + 1)[candidate] - self._before(round_)[candidate] - own
            if ordinal < beyond:
                return candidate, own + ordinal
            ordinal -= beyond
        raise AssertionError(f"round {round_} has no pack in lane {lane}")

    def _address(self, round_: int, lane: int) -> PackAddress:
        source, ordinal = self._slot(round_, lane)
        leg, position = self._leg(round_), self._before(round_)[source] + ordinal
        epoch = position // self.mix.packs[source]
        span, own = self._span(source, epoch, leg), self._legs[leg].own[source]
        if ordinal < own:
            begin, end = span.begin(ordinal), span.begin(ordinal + 1)
            depth = round_ - span.first_round - (ordinal < span.first_ordinal)
            at = end - 1 - depth if ordinal % 2 else begin + depth
        else:
            begin = span.begin(own)
            depth = position - span.first - max(0, own - span.first_ordinal) - (round_ - span.first_round) * own
            at = begin + _interleave(depth, span.stop - span.first - begin, own)
        shard, offset = self._epoch(source, epoch).locate(span.first - epoch * self.mix.packs[source] + at)
        first = self.mix.first_packs[source][shard]
        return PackAddress(source, epoch, first + int(self._shuffled(source, epoch, shard)[offset]))

    def _compute_span(self, source: int, epoch: int, leg: int) -> "_Span":
        packs, limit = self.mix.packs[source], self.limits[source]
        first = max(epoch * packs, self._before(self._legs[leg].start)[source])
        stop = (epoch + 1) * packs if limit is None else min((epoch + 1) * packs, limit)
        if leg + 1 < len(self._legs):
            stop = min(stop, self._before(self._legs[leg + 1].start)[source])
        first_round, last_round = self._round_of(source, first), self._round_of(source, stop - 1)
        return _Span(
            first=first,
            stop=stop,
            first_round=first_round,
            first_ordinal=first - self._before(first_round)[source],
            last_round=last_round,
            end_ordinal=stop - self._before(last_round)[source],
        )

    def _round_of(self, source: int, position: int) -> int:
        return self.mix.number_of(source, position) // self.lanes

    def _compute_epoch(self, source: int, epoch: int) -> "_Epoch":
        sizes = self.mix.shard_sizes[source]
        shards = permutation(len(sizes), self.mix.seed, "shards", source, epoch).tolist()
        return _Epoch(shards, [0, *accumulate(sizes[shard] for shard in shards)])

    def _compute_shuffled(self, source: int, epoch: int, shard: int) -> npt.NDArray[np.int32]:
        """The packs of one shard in the order of one epoch. Kept for every lane, so in few bytes."""
        size = self.mix.shard_sizes[source][shard]
        return permutation(size, self.mix.seed, "packs of shard", source, epoch, shard).astype(np.int32)


class _Leg(NamedTuple):
    """Rounds in which the same sources have the same lanes.

    Attributes:
        start: the first round.
        own: lanes of each source that are its own.
        slots: of each lane, its source and its number among the own lanes of that source; or `_MIXED` and its number
            among the mixed lanes.
    """

    start: int
    own: tuple[int, ...]
    slots: tuple[tuple[int, int], ...]


class _Span(NamedTuple):
    """The packs of a source in one epoch and one leg: positions `range(first, stop)` of the source.

    Attributes:
        first_round, first_ordinal: the round with the first pack, and how many packs of the source that round has
            before it.
        last_round, end_ordinal: the round with the last pack, and how many packs of the source it has up to that one.
    """

    first: int
    stop: int
    first_round: int
    first_ordinal: int
    last_round: int
    end_ordinal: int

    def begin(self, lane: int) -> int:
        """Where the stretch of an own lane begins: the number of packs in the lanes before it."""
        complete = self.last_round - self.first_round - 1
        return lane * complete + max(0, lane - self.first_ordinal) + min(lane, self.end_ordinal)


class _Epoch(NamedTuple):
    """The shards of a source in the order of one epoch, and the number of packs before each, and in all."""

    shards: list[int]
    firsts: list[int]

    def locate(self, place: int) -> tuple[int, int]:
        """(shard, offset in it) of a place in the row of shards."""
        index = bisect_right(self.firsts, place) - 1
        return self.shards[index], place - self.firsts[index]


def _certain_packs(share: Fraction, lanes: int, sources: int) -> int:
    """How many packs any `lanes` consecutive ones hold at least of a source: a prefix holds its share, to within
    1 + share x (sources - 2)."""
    return max(0, math.floor(share * lanes - 2 * (1 + share * (sources - 2))))


def _interleave(position: int, count: int, lanes_before: int) -> int:
    """Where `position` of `count` is if a few stretches are read in turns, every other one backwards, as the lanes
    before them."""
    stretch, depth = position % _MIXED_STRETCHES, position // _MIXED_STRETCHES
    short, longer = divmod(count, _MIXED_STRETCHES)
    if (lanes_before + stretch) % 2:
        depth = short + (stretch < longer) - 1 - depth
    return stretch * short + min(stretch, longer) + depth
