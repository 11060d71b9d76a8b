"""What was predicted of each class: precision, recall and F1, confusions, and whether probabilities are calibrated.

Seeds are pooled: counts are added over the predictions of all of them.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .predictions import Item, Prediction, Run, kind_of, name_of

NOTHING = "none"
"""In a matrix of spans: nothing was predicted there, or nothing is there."""


class ClassCounts(NamedTuple):
    """Correct, false and missed predictions of a class."""

    correct: int
    false: int
    missed: int

    @property
    def precision(self) -> float:
        return _share(self.correct, self.correct + self.false)

    @property
    def recall(self) -> float:
        return _share(self.correct, self.correct + self.missed)

    @property
    def f1(self) -> float:
        return _share(2 * self.correct, 2 * self.correct + self.false + self.missed)


class Reliability(NamedTuple):
    """Probabilities in bins of equal width, and how often they were right. Bins without any are left out.

    Attributes:
        confidence: mean probability of each bin, (B,).
        accuracy: share of each bin that was right, (B,).
        counts: probabilities in each bin, (B,).
        error: expected calibration error: the mean distance of the two, weighted by the counts.
    """

    confidence: npt.NDArray[np.float64]
    accuracy: npt.NDArray[np.float64]
    counts: npt.NDArray[np.int64]
    error: float


def count_classes(examples: Sequence[Prediction], classes: Sequence[str]) -> dict[str, ClassCounts]:
    """The counts of each class over examples of any kind but numbers."""
    correct, false, missed = Counter[str](), Counter[str](), Counter[str]()
    for example in examples:
        wanted, found = example.wanted(), example.found()
        correct.update(name_of(item) for item in wanted if item in found)
        false.update(name_of(item) for item in found if item not in wanted)
        missed.update(name_of(item) for item in wanted if item not in found)
    return {name: ClassCounts(correct[name], false[name], missed[name]) for name in classes}


def micro(counts: Sequence[ClassCounts]) -> ClassCounts:
    """The counts of all classes together."""
    return ClassCounts(*(sum(values) for values in zip(*counts, strict=True)))


def confusion(examples: Sequence[Prediction], classes: Sequence[str]) -> npt.NDArray[np.int64]:
    """Examples by class (rows) and predicted class (columns).

    Of spans it is (C + 1, C + 1): the type of a span that is there, and of the one that was predicted with the same
    bounds; the last row and column are `NOTHING`.
    """
    index = {name: number for number, name in enumerate([*classes, NOTHING])}
    size = len(classes) + (kind_of(examples[0]) == "spans")
    matrix = np.zeros((size, size), np.int64)
    for example in examples:
        for label, prediction in _pairs(example):
            matrix[index[label], index[prediction]] += 1
    return matrix


def _pairs(example: Prediction) -> Iterator[tuple[str, str]]:
    if example.spans is None:
        yield str(example.label), str(example.prediction)
        return
    wanted, found = _by_bounds(example.wanted()), _by_bounds(example.found())
    for bounds in dict.fromkeys([*wanted, *found]):
        yield wanted.get(bounds, NOTHING), found.get(bounds, NOTHING)


def _by_bounds(items: frozenset[Item]) -> dict[tuple[int, int], str]:
    spans = sorted(item for item in items if not isinstance(item, str))
    return {(start, end): name for start, end, name in spans}


def reliability(examples: Sequence[Prediction], bins: int = 10) -> Reliability | None:
    """How well probabilities agree with how often they are right; None if there are no probabilities.

    Of one class: the probability of the predicted class. Of several: that of every class, which is there or not.
    """
    pairs = [pair for example in examples for pair in _probabilities(example)]
    if not pairs:
        return None
    probability, right = np.array(pairs, np.float64).T
    number = np.clip(np.digitize(probability, np.linspace(0, 1, bins + 1)) - 1, 0, bins - 1)
    counts = np.bincount(number, minlength=bins)
    filled = counts > 0
    confidence, accuracy = (
        np.bincount(number, values, bins)[filled] / counts[filled] for values in (probability, right)
    )
    error = float(np.abs(confidence - accuracy) @ counts[filled] / len(pairs))
    return Reliability(confidence, accuracy, counts[filled], error)


def _probabilities(example: Prediction) -> Iterator[tuple[float, bool]]:
    if example.labels is not None:
        wanted = set(example.labels)
        yield from ((probability, name in wanted) for name, probability in example.scores.items())
    elif isinstance(example.prediction, str) and example.prediction in example.scores:
        yield example.scores[example.prediction], example.prediction == example.label


def all_examples(runs: Sequence[Run]) -> list[Prediction]:
    return [example for run in runs for example in run.examples]


def _share(part: float, of: float) -> float:
    return part / of if of else 0.0
