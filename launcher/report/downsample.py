"""Curves of any length as few points that hide nothing: each stands for a bucket, with its least and greatest value."""

import math
from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import NamedTuple

POINTS = 400
"""More than a chart has pixels to tell apart on a small screen."""


class Point(NamedTuple):
    """What a stretch of neighbouring values comes to.

    Attributes:
        x: the middle of the stretch.
        mean: of its values.
        low: the least.
        high: the greatest.
    """

    x: float
    mean: float
    low: float
    high: float


def thin(xs: Iterable[float], ys: Iterable[float | None], most: int = POINTS) -> list[Point]:
    """At most `most` points of equally many values each; values that are missing or not finite are left out."""
    known = [(x, y) for x, y in zip(xs, ys, strict=True) if y is not None and math.isfinite(y)]
    size = bucket_size(len(known), most)
    return [_point(known[at : at + size]) for at in range(0, len(known), size)]


def bucket_size(values: int, most: int = POINTS) -> int:
    """How many values a point of `thin` stands for."""
    return max(1, math.ceil(values / most))


def turns(xs: Sequence[float], ys: Sequence[float]) -> list[Point]:
    """The corners of a curve that stays level for long: nothing lies between its levels."""
    last = len(ys) - 1
    kept = [at for at in range(len(ys)) if at in (0, last) or ys[at] != ys[at - 1] or ys[at] != ys[at + 1]]
    return [Point(xs[at], ys[at], ys[at], ys[at]) for at in kept]


def smoothed(points: Sequence[Point], half: int) -> list[tuple[float, float]]:
    """(x, mean of the points up to `half` before and after)."""
    return [
        (point.x, fmean(near.mean for near in points[max(0, at - half) : at + half + 1]))
        for at, point in enumerate(points)
    ]


def _point(bucket: Sequence[tuple[float, float]]) -> Point:
    values = [y for _, y in bucket]
    return Point((bucket[0][0] + bucket[-1][0]) / 2, fmean(values), min(values), max(values))
