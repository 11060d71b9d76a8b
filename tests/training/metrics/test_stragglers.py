"""A rank is named if it is slower than the others again and again, and for no other reason."""

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import pytest

from clinical_modernbert.training.metrics.stragglers import (
    ROWS,
    WARN_EVERY_ROWS,
    Comparison,
    RankTotals,
    Straggler,
    StragglerMetrics,
    compare,
    find_straggler,
)

Times = Callable[[int, int], tuple[float, float]]
"""(rank, step) -> seconds of (waiting for data, computing)"""


def compared(times: Times, ranks: int, steps: int = 40, packs: Sequence[int] = ()) -> list[StragglerMetrics]:
    comparison = Comparison([f"node{rank}" for rank in range(ranks)])
    totals, rows = [RankTotals()] * ranks, []
    for step in range(1, steps + 1):
        for rank in range(ranks):
            data, computing = (round(1e6 * seconds) for seconds in times(rank, step))
            totals[rank] = totals[rank].plus(RankTotals(1, packs[rank] if packs else 4, data, computing))
        if row := comparison.row(step, list(totals)):
            rows.append(row)
    return rows


def found(rows: Sequence[StragglerMetrics]) -> Straggler | None:
    return find_straggler([asdict(row) for row in rows])


def test_ranks_that_are_equal_on_average_are_never_named() -> None:
    for seed in range(50):
        draw = random.Random(seed)
        ranks = draw.choice([2, 3, 8, 64])
        rows = compared(lambda *_: (draw.choice([0, 0, 0, 2]), draw.choice([0.5, 1, 1, 1.2])), ranks, steps=100)  # noqa: B023
        assert all(found(rows[:end]) is None for end in range(len(rows))), f"seed {seed}"


@pytest.mark.parametrize("ranks", [2, 3, 8, 1024])
@pytest.mark.parametrize(("data", "computing", "why"), [(0.0, 1.5, "computing"), (0.5, 1.0, "waits for its data")])
def test_a_slow_rank_is_named_with_its_machine_and_cause(ranks: int, data: float, computing: float, why: str) -> None:
    draw = random.Random(ranks)
    slow = draw.randrange(ranks)
    rows = compared(lambda rank, _: (data, computing) if rank == slow else (0.0, draw.uniform(0.95, 1.05)), ranks)
    assert (one := found(rows)) is not None
    assert (one.rank, one.host) == (slow, f"node{slow}")
    assert one.seconds == pytest.approx(1.5)
    assert str(one).startswith(f"rank {slow} on node{slow} takes 1.5 s per step, 1.5 times the median")
    assert why in str(one)
    assert found(rows[: ROWS // 2]) is None, "after a few rows it may be chance"


def test_the_data_of_another_rank_is_no_cause() -> None:
    one = found(compared(lambda rank, _: (0.3, 0.5) if rank == 2 else (0.0, 2.0 if rank == 1 else 1.0), 3))
    assert one is not None
    assert (one.rank, one.data_seconds) == (1, 0.0)


def test_a_row_holds_means_since_the_row_before() -> None:
    before = [RankTotals(2, 8, 10, 20), RankTotals(3, 12, 50, 60)]
    after = [RankTotals(4, 16, 2_000_010, 6_000_020), RankTotals(7, 28, 50, 4_000_060)]
    row = compare(9, after, before, ["a", "b"])
    assert row == StragglerMetrics(
        9, rank=0, host="a", seconds=4.0, median=1.0, spread=3.0, data_rank=0, data_seconds=1.0
    )
    assert compare(9, [after[0], before[1]], before, ["a", "b"]) is None


@pytest.mark.parametrize("packs", [[2, 1, 1, 1], [2, 2, 2, 1], [1, 1, 0, 0]])
@pytest.mark.parametrize("of_a_filler", [0.0, 1.0])
def test_a_rank_with_another_number_of_packs_is_not_slow(packs: list[int], of_a_filler: float) -> None:
    """A rank with fewer packs computes fillers, which take nearly no time, or that of a pack in a very small model."""
    times: list[Any] = [own + of_a_filler * (max(packs) - own) for own in packs]
    assert found(compared(lambda rank, _: (0.0, times[rank]), len(packs), packs=packs)) is None


def test_a_warning_is_not_repeated_at_every_row() -> None:
    comparison, warned = Comparison(["a", "b"]), []
    for step in range(1, 2 * WARN_EVERY_ROWS + ROWS + 1):
        comparison.row(step, [RankTotals(step, step, 0, 100 * step), RankTotals(step, step, 0, 300 * step)])
        if comparison.warning():
            warned.append(step)
    assert len(warned) == 3
    assert all(later - earlier == WARN_EVERY_ROWS for earlier, later in pairwise(warned))
