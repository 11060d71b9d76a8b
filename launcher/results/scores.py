"""Mean scores over seeds with their intervals."""

import math
from collections.abc import Sequence
from statistics import fmean, stdev
from typing import NamedTuple

from ...configs.errors import UserError
from ...evaluation.results import Result
from ...evaluation.scores.paired import quantile

LEVEL = 0.95


class MeanScore(NamedTuple):
    """A score of a model: its mean over seeds, and the half-width of the 95 % interval, None with a single seed."""

    mean: float
    half_width: float | None
    seeds: int


def scores_of(results: Sequence[Result]) -> dict[str, dict[str, dict[str, MeanScore]]]:
    """Task -> score -> model -> cell, in the order of the results."""
    values: dict[str, dict[str, dict[str, list[float]]]] = {}
    for result in results:
        for name, value in result.scores.items():
            values.setdefault(result.task, {}).setdefault(name, {}).setdefault(result.model, []).append(float(value))
    return {
        task: {name: {model: _cell(seeds) for model, seeds in models.items()} for name, models in scores.items()}
        for task, scores in values.items()
    }


def is_better(score: str, first: MeanScore, second: MeanScore) -> bool:
    """Whether the first mean is better than the second."""
    return first.mean < second.mean if less_is_better(score) else first.mean > second.mean


def less_is_better(score: str) -> bool:
    return score.endswith(("loss", "error", "cut", "gap", "swap"))


def _cell(values: Sequence[float]) -> MeanScore:
    return MeanScore(fmean(values), _half_width(values), len(values))


def _half_width(values: Sequence[float]) -> float | None:
    """Of the interval of the mean by Student's t; None with one value, or without scipy."""
    if len(values) < 2:
        return None
    try:
        return quantile(len(values), LEVEL) * stdev(values) / math.sqrt(len(values))
    except UserError:
        return None
