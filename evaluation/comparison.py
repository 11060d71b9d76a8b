"""Pairs of models on the same tests: which differences are more than chance."""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

from rich.markup import escape
from rich.table import Table

from .results import Result
from .scores.significance import LEVEL, SAMPLES, Difference, compare, correct
from .scores.units import Score

ALPHA = 0.05


class Comparison(NamedTuple):
    """The second model against the first. `p` is corrected for all comparisons; only a task's first score has one."""

    task: str
    score: str
    first: str
    second: str
    difference: Difference
    p: float | None


def compare_models(results: Sequence[Result]) -> list[Comparison]:
    """Compare all pairs of models by every score.

    Only the first score of each task is tested, and Holm's correction is over these tests; the other scores have
    intervals. Tasks with one model, or with tests of different units, are left out.
    """
    pairs = [
        (task, score, first, second, compare(scores[first], scores[second]))
        for task, score, scores in _by_score(results)
        for first, second in combinations(scores, 2)
        if len({len(one.units) for model in (first, second) for one in scores[model]}) == 1
    ]
    primary = {task: score for task, score, *_ in reversed(pairs)}
    tested = [index for index, (task, score, *_) in enumerate(pairs) if primary[task] == score]
    corrected = dict(zip(tested, correct([pairs[index][-1].p for index in tested]), strict=True))
    return [Comparison(*pair, corrected.get(index)) for index, pair in enumerate(pairs)]


def comparison_table(comparisons: Sequence[Comparison]) -> Table:
    """The tested scores: one row per task and pair of models."""
    table = Table(title=f"differences, {LEVEL:.0%} intervals", title_justify="left")
    for column in ("task", "models", "score"):
        table.add_column(column, overflow="fold")
    for column in ("difference", "interval", "p"):
        table.add_column(column, justify="right")
    for task, score, first, second, (difference, low, high, _), p in comparisons:
        if p is not None:
            models = escape(f"{second} - {first}")
            table.add_row(escape(task), models, score, f"{difference:+.4f}", f"{low:+.4f} to {high:+.4f}", f"{p:.4f}")
    return table


def claims(comparisons: Sequence[Comparison]) -> list[str]:
    """What may be claimed of each tested difference, in a sentence."""
    tests = sum(comparison.p is not None for comparison in comparisons)
    several = f" after Holm's correction of {tests} tests" if tests > 1 else ""
    sentences = []
    for task, score, first, second, (difference, low, high, _), p in comparisons:
        if p is None:
            continue
        if p < ALPHA and (low > 0 or high < 0):
            better, worse = (second, first) if (difference > 0) == _more_is_better(score) else (first, second)
            size = f"{abs(difference):.4f}, {min(abs(low), abs(high)):.4f} to {max(abs(low), abs(high)):.4f}"
            claim = f"{better} is better than {worse} in {score}"
            if score.endswith("gap"):  # of bias: less is not all that matters
                claim = f"{better} has a smaller {score} than {worse}"
            sentences.append(f"{task}: {claim} ({size}; p = {p:.4f}{several}).")
        else:
            sentences.append(
                f"{task}: no difference of {first} and {second} in {score} can be claimed "
                f"(p = {p:.4f}{several}); it is between {low:+.4f} and {high:+.4f}."
            )
    return sentences


def as_json(comparisons: Sequence[Comparison]) -> dict[str, object]:
    """For comparison.json: the method and every comparison; `p` is null where only an interval is given."""
    return {
        "method": {
            "interval": f"paired bootstrap over units and seeds, {LEVEL:.0%}, {SAMPLES} samples",
            "p": f"approximate randomization over units, {SAMPLES} exchanges, Holm's correction",
        },
        "comparisons": [
            {
                "task": task,
                "score": score,
                "first": first,
                "second": second,
                "difference": difference.difference,
                "low": difference.low,
                "high": difference.high,
                "p": p,
            }
            for task, score, first, second, difference, p in comparisons
        ],
    }


def _by_score(results: Sequence[Result]) -> list[tuple[str, str, dict[str, list[Score]]]]:
    """(task, score, model -> its scores by seed), in the order of the results."""
    found: dict[tuple[str, str], dict[str, list[Score]]] = {}
    for result in results:
        for name, score in result.scores.items():
            found.setdefault((result.task, name), {}).setdefault(result.model, []).append(score)
    return [(task, name, scores) for (task, name), scores in found.items()]


def _more_is_better(score: str) -> bool:
    return not score.endswith(("loss", "error", "gap"))
