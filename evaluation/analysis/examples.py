"""Scores by the length of a text, and the examples that are most often wrong; of these, ids and positions only."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import NamedTuple

import numpy as np

from .classes import all_examples, count_classes, micro
from .predictions import Item, Prediction, Run, classes_of, kind_of


class Slice(NamedTuple):
    """A quarter of the test set by the number of tokens.

    Attributes:
        low, high: tokens of its shortest and longest text.
        examples: their number.
        scores: by model.
    """

    low: int
    high: int
    examples: int
    scores: dict[str, float]


class Mistake(NamedTuple):
    """An example that was wrong in `wrong` of `seeds` seeds.

    Attributes:
        wanted, found: what is right and what the first seed that was wrong predicted; of spans, those that differ.
        size: by which mistakes of the same number of seeds are sorted: how sure or how far off the model was.
        at: where the first span of these begins, in characters of the text; 0 of other kinds.
    """

    id: str
    wanted: str
    found: str
    wrong: int
    seeds: int
    size: float
    at: int = 0


def slice_score(kind: str) -> str:
    """The name of the score of slices."""
    return {"class": "accuracy", "number": "mean absolute error"}.get(kind, "micro F1")


def length_slices(runs_of: Mapping[str, Sequence[Run]], parts: int = 4) -> list[Slice]:
    """Scores by quartile of length, in tokens of the first model; none if lengths are unknown or all are equal."""
    lengths = {one.id: one.tokens for one in next(iter(runs_of.values()))[0].examples if one.tokens is not None}
    bounds = np.quantile(list(lengths.values()), np.linspace(0, 1, parts + 1)[1:-1]) if lengths else np.array([])
    groups: dict[int, set[str]] = defaultdict(set)
    for name, tokens in lengths.items():
        groups[int(np.searchsorted(bounds, tokens))].add(name)
    if len(groups) < 2:
        return []
    slices = []
    for _, names in sorted(groups.items()):
        tokens_of = [lengths[name] or 0 for name in names]
        scores = {
            model: _score([example for example in all_examples(runs) if example.id in names])
            for model, runs in runs_of.items()
        }
        slices.append(Slice(min(tokens_of), max(tokens_of), len(names), scores))
    return slices


def _score(examples: Sequence[Prediction]) -> float:
    if not examples:
        return 0.0
    kind = kind_of(examples[0])
    if kind == "number":
        return fmean(_distance(example) for example in examples)
    if kind == "class":
        return fmean(example.label == example.prediction for example in examples)
    return micro(list(count_classes(examples, classes_of([Run(0, list(examples))])).values())).f1


def mistakes(runs: Sequence[Run], most: int = 10) -> list[Mistake]:
    """The examples that are wrong in most seeds, of these the ones that the model is most sure of or farthest from."""
    wrong: dict[str, list[Prediction]] = defaultdict(list)
    for example in all_examples(runs):
        if _distance(example) if kind_of(example) == "number" else example.wanted() != example.found():
            wrong[example.id].append(example)
    found = [_mistake(examples, len(runs)) for examples in wrong.values()]
    return sorted(found, key=lambda one: (-one.wrong, -one.size, one.id))[:most]


def _mistake(examples: Sequence[Prediction], seeds: int) -> Mistake:
    first = examples[0]
    kind, at = kind_of(first), 0
    if kind == "number":
        wanted, found = f"{_number(first.label):.4g}", f"{_number(first.prediction):.4g}"
        size = fmean(map(_distance, examples))
    else:
        missed, false = first.wanted() - first.found(), first.found() - first.wanted()
        wanted, found = (", ".join(_describe(items)) for items in (missed, false))
        sure = first.scores.get(str(first.prediction), 0.0)
        size = sure if kind == "class" else float(len(missed) + len(false))
        at = min((item[0] for item in missed | false if not isinstance(item, str)), default=0)
    return Mistake(first.id, wanted, found, len(examples), seeds, size, at)


def _describe(items: frozenset[Item]) -> list[str]:
    """The items as text: spans in the order of their positions, classes in that of their names."""
    ordered = sorted(items, key=lambda item: (0, 0, item) if isinstance(item, str) else item)
    return [item if isinstance(item, str) else f"{item[2]} {item[0]}–{item[1]}" for item in ordered]


def _distance(example: Prediction) -> float:
    return abs(_number(example.label) - _number(example.prediction))


def _number(value: str | float | None) -> float:
    return float(value) if value is not None else 0.0
