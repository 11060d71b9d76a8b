"""Downsample curves of any length to few points that keep all extremes."""

import math
from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import NamedTuple

POINTS = 400
"""More points than a small screen can resolve in one chart."""


class Point(NamedTuple):
    """A bucket of neighboring values.

    Attributes:
        x: the middle of the bucket.
        mean: mean of its values.
        low: least value.
        high: greatest value.
    """

    x: float
    mean: float
    low: float
    high: float


def downsample(xs: Iterable[float], ys: Iterable[float | None], max_points: int = POINTS) -> list[Point]:
    """Return at most `max_points` buckets of equally many values; missing and non-finite values are skipped."""
    known = [(x, y) for x, y in zip(xs, ys, strict=True) if y is not None and math.isfinite(y)]
    size = bucket_size(len(known), max_points)
    return [_point(known[at : at + size]) for at in range(0, len(known), size)]


def bucket_size(values: int, max_points: int = POINTS) -> int:
    """Return the number of values per point of `downsample`."""
    return max(1, math.ceil(values / max_points))


def level_changes(xs: Sequence[float], ys: Sequence[float]) -> list[Point]:
    """Return the corners of a piecewise constant curve; all values between them are equal."""
    last = len(ys) - 1
    kept = [at for at in range(len(ys)) if at in (0, last) or ys[at] != ys[at - 1] or ys[at] != ys[at + 1]]
    return [Point(xs[at], ys[at], ys[at], ys[at]) for at in kept]


def moving_average(points: Sequence[Point], half: int) -> list[tuple[float, float]]:
    """Return (x, mean over the points up to `half` before and after)."""
    return [
        (point.x, fmean(near.mean for near in points[max(0, at - half) : at + half + 1]))
        for at, point in enumerate(points)
    ]


def _point(bucket: Sequence[tuple[float, float]]) -> Point:
    values = [y for _, y in bucket]
    return Point((bucket[0][0] + bucket[-1][0]) / 2, fmean(values), min(values), max(values))
