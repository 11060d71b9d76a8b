"""Scores that depend on the order of all units: areas under curves, of labels with a score per unit.

They are no function of sums over units, so a sample of units is a row of weights, how often each unit is drawn.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
_AT_A_TIME = 1 << 24
"""Weights computed at once, which bounds memory."""


def ranked(scores: npt.ArrayLike, truth: npt.ArrayLike) -> Array:
    """The units of these scores, (U, 2 C): of C labels the score and whether the label is true."""
    return np.hstack([np.asarray(scores, np.float64), np.asarray(truth, np.float64)])


def auroc(scores: Array, truth: Array, weights: Array) -> Array:
    """The area under the ROC curve of each sample, (N,), (N,), (B, N) -> (B,); NaN without both outcomes.

    Equal scores count one half.
    """
    positive, negative = _by_score(scores, truth, weights)
    below = negative.cumsum(axis=1) - negative
    pairs = positive.sum(axis=1) * negative.sum(axis=1)
    return _share((positive * (below + negative / 2)).sum(axis=1), pairs)


def average_precision(scores: Array, truth: Array, weights: Array) -> Array:
    """The mean precision at the positives of each sample, (N,), (N,), (B, N) -> (B,); NaN without positives."""
    positive, negative = (part[:, ::-1] for part in _by_score(scores, truth, weights))
    found = positive.cumsum(axis=1)
    precision = np.nan_to_num(_share(found, found + negative.cumsum(axis=1)))
    return _share((positive * precision).sum(axis=1), positive.sum(axis=1))


def _by_score(scores: Array, truth: Array, weights: Array) -> tuple[Array, Array]:
    """The weights of true and of false units of each sample, by ascending score: equal scores are one column."""
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))
    drawn = weights[:, order]
    return tuple(np.add.reduceat(drawn * chosen[order], starts, axis=1) for chosen in (truth, 1 - truth))  # type: ignore[return-value]


def _share(part: Array, of: Array) -> Array:
    return np.divide(part, of, out=np.full_like(part, np.nan), where=of > 0)


def _macro(area: Callable[[Array, Array, Array], Array], units: Array, weights: Array) -> Array:
    """The mean over the labels for which it is defined; 0 if there are none."""
    scores, truth = np.split(units, 2, axis=1)
    total, defined = np.zeros(len(weights)), np.zeros(len(weights))
    for column in range(scores.shape[1]):
        areas = area(scores[:, column], truth[:, column], weights)
        total += np.nan_to_num(areas)
        defined += ~np.isnan(areas)
    return np.nan_to_num(_share(total, defined))


def _micro(area: Callable[[Array, Array, Array], Array], units: Array, weights: Array) -> Array:
    """Of all labels of all units in one order; 0 if it is not defined."""
    scores, truth = (part.reshape(-1) for part in np.split(units, 2, axis=1))
    rows = max(1, _AT_A_TIME // max(1, scores.size))
    labels = units.shape[1] // 2
    parts = [
        area(scores, truth, np.repeat(weights[start : start + rows], labels, axis=1))
        for start in range(0, len(weights), rows)
    ]
    return np.nan_to_num(np.concatenate(parts))


RANKED: dict[str, Callable[[Array, Array], Array]] = {
    "macro_auroc": partial(_macro, auroc),
    "micro_auroc": partial(_micro, auroc),
    "macro_average_precision": partial(_macro, average_precision),
    "micro_average_precision": partial(_micro, average_precision),
}
"""By name: (units (U, 2 C) of `ranked`, weights (B, U)) -> (B,)."""
