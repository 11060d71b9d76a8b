"""Which rank is slow: the times of all ranks, compared at every row of metrics."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean, median, median_low
from typing import Any, NamedTuple

FACTOR = 1.3
"""A rank is slow if it takes more than this multiple of the median rank's time."""
ROWS, SLOW_ROWS = 20, 18
"""It is named if it was slow, and the slowest, in so many of the last rows."""
WARN_EVERY_ROWS = 100


class RankTotals(NamedTuple):
    """What one rank has done since its start, in numbers that ranks exchange; times are in microseconds.

    Attributes:
        packs: of this rank.
        data: time of waiting for its data.
        computing: see `training/pace.py`.
    """

    steps: int = 0
    packs: int = 0
    data: int = 0
    computing: int = 0

    def plus(self, other: "RankTotals") -> "RankTotals":
        return RankTotals(*(a + b for a, b in zip(self, other, strict=True)))

    def since(self, before: "RankTotals") -> "RankTotals":
        return RankTotals(*(a - b for a, b in zip(self, before, strict=True)))


@dataclass(frozen=True)
class StragglerMetrics:
    """One row of stragglers.csv: means per step since the row before. Times are in seconds.

    Attributes:
        step: of the row of metrics.csv.
        rank: the slowest one.
        host: its machine.
        seconds: what its step takes without waiting for other ranks: its data, and computing.
        median: of all ranks, of an even number the lower one of the middle: of two ranks, the faster one.
        spread: between the slowest and the fastest rank.
        data_rank: the one that waits longest for its data.
        data_seconds: for which it waits.
    """

    step: int
    rank: int
    host: str
    seconds: float
    median: float
    spread: float
    data_rank: int
    data_seconds: float


@dataclass(frozen=True)
class Straggler:
    """A rank that is slow again and again; medians of its rows, times in seconds per step.

    Attributes:
        times: how many times as long as the median rank it takes.
        data_seconds: waiting for data; 0 if another rank waits longer.
    """

    rank: int
    host: str
    seconds: float
    times: float
    data_seconds: float

    def __str__(self) -> str:
        slow = f"rank {self.rank} on {self.host} takes {self.seconds:.3g} s per step, {self.times:.1f} times the median"
        # What a rank of the median would not need: is at least half of it data?
        extra = self.seconds * (1 - 1 / self.times)
        if self.data_seconds >= extra / 2:
            return f"{slow}; it waits for its data for {self.data_seconds:.3g} s of them"
        return f"{slow}, computing"


def compare(
    step: int, now: Sequence[RankTotals], before: Sequence[RankTotals], hosts: Sequence[str]
) -> StragglerMetrics | None:
    """The row of the steps between two exchanges of all ranks' totals; None if there are no two ranks to compare.

    A rank with more packs than others, because their number cannot be divided evenly, is not slow: it counts with the
    mean number. Ranks without packs do not count.
    """
    done = [rank.since(earlier) for rank, earlier in zip(now, before, strict=True)]
    if any(rank.steps <= 0 for rank in done):
        return None
    usual = fmean(rank.packs / rank.steps for rank in done)
    data = {number: rank.data / rank.steps / 1e6 for number, rank in enumerate(done) if rank.packs}
    seconds = {
        number: waiting + done[number].computing / 1e6 * min(1 / done[number].steps, usual / done[number].packs)
        for number, waiting in data.items()
    }
    if len(seconds) < 2:
        return None
    slowest, by_data = max(seconds, key=seconds.__getitem__), max(data, key=data.__getitem__)
    return StragglerMetrics(
        step=step,
        rank=slowest,
        host=hosts[slowest],
        seconds=round(seconds[slowest], 6),
        median=round(median_low(seconds.values()), 6),
        spread=round(seconds[slowest] - min(seconds.values()), 6),
        data_rank=by_data,
        data_seconds=round(data[by_data], 6),
    )


def find_straggler(rows: Sequence[Mapping[str, Any]]) -> Straggler | None:
    """The rank that the last of these rows of stragglers.csv show to be slow; None if they show none."""
    slow = [row for row in rows[-ROWS:] if row["seconds"] > FACTOR * row["median"]]
    named = Counter((row["rank"], row["host"]) for row in slow)
    if not named:
        return None
    (rank, host), count = named.most_common(1)[0]
    if count < SLOW_ROWS:
        return None
    its = [row for row in slow if (row["rank"], row["host"]) == (rank, host)]
    return Straggler(
        rank=rank,
        host=host,
        seconds=median(row["seconds"] for row in its),
        times=median(row["seconds"] / max(row["median"], 1e-9) for row in its),
        data_seconds=median(row["data_seconds"] if row["data_rank"] == rank else 0.0 for row in its),
    )


class Comparison:
    """Compares the ranks from row to row, and says when to warn of one.

    Args:
        hosts: the machine of each rank.
    """

    def __init__(self, hosts: Sequence[str]) -> None:
        self._hosts = hosts
        self._before: Sequence[RankTotals] = [RankTotals()] * len(hosts)
        self._rows: list[dict[str, Any]] = []
        self._warned: int | None = None
        self._count = 0

    def row(self, step: int, totals: Sequence[RankTotals]) -> StragglerMetrics | None:
        """The row of stragglers.csv of `step`; None if there is nothing to compare."""
        row = compare(step, totals, self._before, self._hosts)
        if row is not None:
            self._before = totals
            self._rows = [*self._rows[-ROWS + 1 :], asdict(row)]
            self._count += 1
        return row

    def warning(self) -> Straggler | None:
        """The rank to warn of after the last row: at most once in `WARN_EVERY_ROWS`."""
        if self._warned is not None and self._count - self._warned < WARN_EVERY_ROWS:
            return None
        if found := find_straggler(self._rows):
            self._warned = self._count
        return found
