"""A score as a function of sums over units, so that it can be computed again for any sample of them.

A unit is what is sampled independently: a sentence, a text, a pair, a query, a code, a pack. Each has a few numbers,
such as correct, missed and false entities; a score is a function of their sums. That is all a significance test needs:
it weighs or exchanges units, and predicts nothing again. Areas under curves depend on the order of all units instead;
they are computed again from the units and their weights.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from .rank_statistics import RANKED

Units = npt.NDArray[np.float64]
"""The numbers of each unit, (U, k)."""

Function = Literal[
    "mean", "total", "precision", "recall", "f1", "macro_f1", "weighted_f1", "correlation",
    "macro_auroc", "micro_auroc", "macro_average_precision", "micro_average_precision",
]  # fmt: skip


class Score(float):
    """A score, with the units that gave it."""

    function: Function
    units: Units

    def __new__(cls, function: Function, units: npt.ArrayLike) -> "Score":
        """Compute the score of all units, (U, k) or (U,)."""
        numbers = np.asarray(units, np.float64)
        numbers = numbers[:, None] if numbers.ndim == 1 else numbers
        if function == "mean" and numbers.shape[1] == 1:
            numbers = np.hstack([numbers, np.ones_like(numbers)])
        if function in RANKED:
            [value] = RANKED[function](numbers, np.ones((1, len(numbers))))
        else:
            value = FUNCTIONS[function](numbers.sum(axis=0))
        score = super().__new__(cls, value)
        score.function, score.units = function, numbers
        return score

    def of_weights(self, weights: Units) -> npt.NDArray[np.float64]:
        """The score of each of B samples, (B, U) -> (B,): how often each unit is drawn."""
        return weighted(self.function, self.units, weights)


def weighted(function: Function, units: Units, weights: Units) -> npt.NDArray[np.float64]:
    """A score of each of B samples of units, (U, k), (B, U) -> (B,)."""
    if function in RANKED:
        return RANKED[function](units, weights)
    return FUNCTIONS[function](weights @ units)


def outcomes(labels: Sequence[object], predictions: Sequence[object], classes: Sequence[object]) -> Units:
    """Per example and class whether it is correct, false or missed, (U, 3 C): the units of F1 over classes."""
    index = {value: number for number, value in enumerate(classes)}
    truth, predicted = (np.array([index.get(value, -1) for value in values]) for values in (labels, predictions))
    true, chosen = (values[:, None] == np.arange(len(classes)) for values in (truth, predicted))
    return label_outcomes(true, chosen)


def label_outcomes(truth: npt.NDArray[np.bool_], chosen: npt.NDArray[np.bool_]) -> Units:
    """The units of `outcomes` where an example has several labels or none, from bool (U, C) each."""
    return np.hstack([truth & chosen, chosen & ~truth, truth & ~chosen]).astype(np.float64)


def micro(units: Units) -> Units:
    """The sums over classes of `outcomes`: correct, false and missed of each example, (U, 3)."""
    return units.reshape(len(units), 3, -1).sum(axis=2)


def _share(part: npt.NDArray[np.float64], of: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """part / of, and 0 of nothing."""
    return np.divide(part, of, out=np.zeros_like(part), where=of > 0)


def _mean(sums: Units) -> npt.NDArray[np.float64]:
    """Of values and their weights."""
    return _share(sums[..., 0], sums[..., 1])


def _total(sums: Units) -> npt.NDArray[np.float64]:
    return sums[..., 0]


def _precision(sums: Units) -> npt.NDArray[np.float64]:
    return _share(sums[..., 0], sums[..., 0] + sums[..., 1])


def _recall(sums: Units) -> npt.NDArray[np.float64]:
    return _share(sums[..., 0], sums[..., 0] + sums[..., 2])


def _f1(sums: Units) -> npt.NDArray[np.float64]:
    correct, false, missed = sums[..., 0], sums[..., 1], sums[..., 2]
    return _share(2 * correct, 2 * correct + false + missed)


def _class_f1(sums: Units) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """F1 of each class, and the number of its examples: both (..., C)."""
    correct, false, missed = np.moveaxis(sums.reshape(*sums.shape[:-1], 3, -1), -2, 0)
    return _share(2 * correct, 2 * correct + false + missed), correct + missed


def _macro_f1(sums: Units) -> npt.NDArray[np.float64]:
    """Over the classes that occur in labels or predictions."""
    f1, _ = _class_f1(sums)
    occurs = sums.reshape(*sums.shape[:-1], 3, -1).sum(axis=-2) > 0
    return _share((f1 * occurs).sum(axis=-1), occurs.sum(axis=-1).astype(np.float64))


def _weighted_f1(sums: Units) -> npt.NDArray[np.float64]:
    f1, support = _class_f1(sums)
    return _share((f1 * support).sum(axis=-1), support.sum(axis=-1))


def _correlation(sums: Units) -> npt.NDArray[np.float64]:
    """Pearson's, from the sums of 1, x, y, x^2, y^2 and xy; 0 if one of them does not vary."""
    count, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    spread = np.sqrt(np.maximum(count * xx - x * x, 0) * np.maximum(count * yy - y * y, 0))
    return np.clip(_share(count * xy - x * y, spread), -1, 1)


def moments(x: npt.ArrayLike, y: npt.ArrayLike) -> Units:
    """The units of a correlation, (U, 6), from centered values, so that their sums lose no digits.

    Centered by the median: of equal values it is exactly their value, which a mean may miss by a rounding error.
    """
    a, b = (np.asarray(values, np.float64) for values in (x, y))
    a, b = a - np.median(a), b - np.median(b)
    return np.stack([np.ones_like(a), a, b, a * a, b * b, a * b], axis=1)


FUNCTIONS: dict[str, Callable[[Units], npt.NDArray[np.float64]]] = {
    "mean": _mean,
    "total": _total,
    "precision": _precision,
    "recall": _recall,
    "f1": _f1,
    "macro_f1": _macro_f1,
    "weighted_f1": _weighted_f1,
    "correlation": _correlation,
}
