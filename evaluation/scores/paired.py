"""Paired comparison of two recipes over seeds: the difference of each pair, its interval, and the seeds that it needs.

The unit is the pair: two runs of one seed, with the same data order and masks. Their differences are taken as a sample
of a normal distribution (Student's t). Texts are not resampled, so an interval holds for the texts that were scored.
"""

import math
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import NamedTuple

from .optional_dependencies import require

MOST_PAIRS = 10_000
"""Beyond so many pairs no number is given: the recipes cannot be distinguished so finely."""


class Paired(NamedTuple):
    """The second recipe against the first.

    Attributes:
        first, second: mean scores over the seeds.
        difference: mean of second - first.
        deviation: sample standard deviation of the differences; None for a single pair.
        half_width: of the interval around the difference; None for a single pair.
        pairs: number of pairs.
    """

    first: float
    second: float
    difference: float
    deviation: float | None
    half_width: float | None
    pairs: int

    @property
    def differs(self) -> bool:
        """Whether the interval leaves out 0."""
        return self.half_width is not None and abs(self.difference) > self.half_width


def compare(first: Sequence[float], second: Sequence[float], level: float) -> Paired:
    """Compare the scores of two recipes, (n,) each in the same order of seeds, with an interval of the given level.

    Raises:
        ValueError: there are no pairs, or they are not pairs.
    """
    differences = [b - a for a, b in zip(first, second, strict=True)]
    pairs = len(differences)
    if not pairs:
        raise ValueError("no pair of scores")
    deviation = stdev(differences) if pairs > 1 else None
    half = None if deviation is None else quantile(pairs, level) * deviation / math.sqrt(pairs)
    return Paired(fmean(first), fmean(second), fmean(differences), deviation, half, pairs)


def pairs_needed(deviation: float, half_width: float, level: float) -> int | None:
    """The least number of pairs whose interval has this half-width, if differences vary as observed.

    None if it is more than `MOST_PAIRS`.
    """

    def suffices(pairs: int) -> bool:
        return quantile(pairs, level) * deviation <= half_width * math.sqrt(pairs)

    if not suffices(MOST_PAIRS):
        return None
    low, high = 1, MOST_PAIRS  # one pair has no interval
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if suffices(middle) else (middle, high)
    return high


def quantile(pairs: int, level: float) -> float:
    """How many standard errors an interval of this level reaches to either side."""
    return float(require("scipy.stats").t.ppf((1 + level) / 2, pairs - 1))
