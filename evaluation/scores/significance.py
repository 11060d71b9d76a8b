"""Whether the difference of two models on the same test is more than chance, over units and seeds of fine-tuning.

- interval: the paired bootstrap. Each of many samples draws units, the same for both models, and seeds of each model,
  with replacement; the interval is of the differences of the means over seeds (Koehn 2004, here with seeds).
- p: approximate randomization (Noreen 1989). Under the null hypothesis it is arbitrary which model an output came from,
  so the outputs of a unit are exchanged between the models, at random, in all seeds at once.

Several comparisons are corrected by Holm's method.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .units import Score, Units, weighted

LEVEL = 0.95
SAMPLES = 4_000
"""Of the bootstrap, and exchanges of the randomization: the smallest p is 1 / 4,001."""
_ROWS = 500


class Difference(NamedTuple):
    """The second model against the first: difference of the means over seeds, its interval, and p before correction."""

    difference: float
    low: float
    high: float
    p: float


def compare(first: Sequence[Score], second: Sequence[Score]) -> Difference:
    """Compare the scores of two models on the same units, one per seed; both have the same number of seeds.

    Deterministic.

    Raises:
        ValueError: the units or the seeds are not the same ones.
    """
    if len(first) != len(second) or len({len(score.units) for score in (*first, *second)}) != 1:
        raise ValueError("the models have different numbers of seeds or units")
    difference = _mean(second) - _mean(first)
    low, high = np.quantile(_bootstrap(first, second), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    exchanged = np.abs(_randomize(first, second)) >= abs(difference) - 1e-12
    return Difference(difference, float(low), float(high), (1 + int(exchanged.sum())) / (1 + SAMPLES))


def correct(p: Sequence[float]) -> list[float]:
    """Holm's correction, in the order of `p`: the chance of one or more false claims among all is at most alpha."""
    corrected = [0.0] * len(p)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p)), key=lambda index: p[index])):
        largest = max(largest, min(1.0, (len(p) - rank) * p[index]))
        corrected[index] = largest
    return corrected


def _mean(scores: Sequence[Score]) -> float:
    return float(np.mean([float(score) for score in scores]))


def _bootstrap(first: Sequence[Score], second: Sequence[Score]) -> npt.NDArray[np.float64]:
    random, count = np.random.default_rng(0), len(first[0].units)
    parts = []
    for rows in _chunks():
        draws = random.integers(count, size=(rows, count))
        weights = np.stack([np.bincount(draw, minlength=count) for draw in draws]).astype(np.float64)
        means = []
        for scores in (second, first):
            values = np.stack([score.of_weights(weights) for score in scores], axis=1)
            chosen = random.integers(len(scores), size=values.shape)
            means.append(np.take_along_axis(values, chosen, axis=1).mean(axis=1))
        parts.append(means[0] - means[1])
    return np.concatenate(parts)


def _randomize(first: Sequence[Score], second: Sequence[Score]) -> npt.NDArray[np.float64]:
    random, count = np.random.default_rng(1), len(first[0].units)
    parts = []
    for rows in _chunks():
        exchanged = random.integers(2, size=(rows, count)).astype(np.float64)
        parts.append(
            np.mean([_exchange(a, b, exchanged) for a, b in zip(first, second, strict=True)], axis=0),
        )
    return np.concatenate(parts)


def _exchange(first: Score, second: Score, exchanged: Units) -> npt.NDArray[np.float64]:
    """The difference of a pair of scores for each row of `exchanged`, (B, U): 1 where a unit changes sides."""
    units, kept = np.vstack([first.units, second.units]), 1 - exchanged
    of_first = weighted(first.function, units, np.hstack([kept, exchanged]))
    return weighted(first.function, units, np.hstack([exchanged, kept])) - of_first


def _chunks() -> list[int]:
    """Rows computed at a time, which bounds memory."""
    return [min(_ROWS, SAMPLES - start) for start in range(0, SAMPLES, _ROWS)]
