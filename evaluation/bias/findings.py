"""What the comparisons of a bias probe show: differences of two groups with intervals, effect sizes and a noise floor.

The units of a comparison are templates or texts: their difference, and the values under each wording of both groups.

- difference: of the group from the reference, its mean over units, with the paired bootstrap's interval;
- effect: the difference divided by its standard deviation over units (Cohen's d of paired values);
- floor: how large a difference two sets of wordings of one and the same group have in 95 of 100 cases. Every word has a
  frequency and company of its own, so a smaller difference may be of words and not of groups;
- p: the larger of two, corrected by Holm's method over all comparisons of a measure. One is of approximate
  randomization over units; the other, of wordings, is Student's t of the difference over the spread of wordings.

Wordings are few, so their spread is pooled over the groups of a measure; where that of the comparison's own attribute
is larger, it counts.
"""

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ..scores.optional_dependencies import require
from ..scores.significance import LEVEL, compare, correct
from ..scores.units import Score

ALPHA = 0.05
_MARK = " | "
_COLUMNS = 2  # before the values: the difference, and 1, its weight
Array = npt.NDArray[np.float64]


class Finding(NamedTuple):
    """A comparison of two groups.

    Attributes:
        measure: such as `words adherence`.
        groups: such as `sex: woman - man`.
        units: number of templates or texts.
        effect: None if all units have the same difference.
        p: corrected.
    """

    measure: str
    groups: str
    units: int
    difference: float
    low: float
    high: float
    effect: float | None
    floor: float
    p: float

    @property
    def found(self) -> bool:
        """Whether it is more than chance, over units and over wordings."""
        return self.p < ALPHA and (self.low > 0 or self.high < 0)


class _Spread(NamedTuple):
    """The variance of the wordings of a group, and its degrees of freedom."""

    variance: float
    freedom: int


def comparison_score(group: Array, reference: Array) -> Score:
    """The mean difference of two groups, from values of U units under k wordings each, (U, k)."""
    difference = group.mean(axis=1) - reference.mean(axis=1)
    return Score("mean", np.column_stack([difference, np.ones(len(difference)), group, reference]))


def comparison_name(measure: str, attribute: str, group: str, reference: str) -> str:
    """The name of the score: `words adherence | sex: woman - man`."""
    return f"{measure}{_MARK}{attribute}: {group} - {reference}"


def is_comparison(name: str) -> bool:
    """Whether a score is a comparison of groups, of which there are many; the others summarize them."""
    return _MARK in name


def summarized(scores: Mapping[str, Any]) -> dict[str, Any]:
    """The scores without comparisons of groups."""
    return {name: value for name, value in scores.items() if not is_comparison(name)}


def findings(scores: Mapping[str, Score]) -> list[Finding]:
    """All comparisons among the scores of a model; empty for other tasks. Deterministic."""
    by_measure: dict[str, dict[str, Score]] = {}
    for name, score in scores.items():
        if is_comparison(name):
            measure, groups = name.rsplit(_MARK, 1)
            by_measure.setdefault(measure, {})[groups] = score
    found = [
        _finding(measure, groups, score, _spread(of, groups))
        for measure, of in by_measure.items()
        for groups, score in of.items()
    ]
    families: dict[str, list[int]] = {}
    for number, one in enumerate(found):
        families.setdefault(one.measure.split()[0], []).append(number)
    for numbers in families.values():
        for number, p in zip(numbers, correct([found[number].p for number in numbers]), strict=True):
            found[number] = found[number]._replace(p=p)
    return found


def _finding(measure: str, groups: str, score: Score, spread: _Spread) -> Finding:
    group, reference = _values(score)
    difference, low, high, p = compare([Score("mean", reference.mean(axis=1))], [Score("mean", group.mean(axis=1))])
    deviation = float(np.std(score.units[:, 0], ddof=1)) if len(score.units) > 1 else 0.0
    effect = difference / deviation if deviation > 1e-12 else None
    error = sqrt(2 * spread.variance / group.shape[1])
    floor, of_wordings = _student(difference, error, spread.freedom)
    return Finding(measure, groups, len(score.units), difference, low, high, effect, floor, max(p, of_wordings))


def _values(score: Score) -> tuple[Array, Array]:
    """The values of a comparison's group and reference, (U, k) each."""
    group, reference = np.split(score.units[:, _COLUMNS:], 2, axis=1)
    return group, reference


def _student(difference: float, error: float, freedom: int) -> tuple[float, float]:
    """What a difference with this standard error stays below with probability `LEVEL`, and its p; of no error, 0."""
    if error < 1e-12:
        return 0.0, float(abs(difference) < 1e-12)
    student = require("scipy.stats").t
    return error * float(student.ppf((1 + LEVEL) / 2, freedom)), float(2 * student.sf(abs(difference) / error, freedom))


def _spread(of: Mapping[str, Score], groups: str) -> _Spread:
    """The variance of wordings in a measure: the larger of that of all groups and that of this attribute."""
    by_group: dict[tuple[str, str], Array] = {}
    for name, score in of.items():
        attribute, pair = name.split(": ", 1)
        for group, values in zip(pair.split(" - "), _values(score), strict=True):
            by_group[attribute, group] = values.mean(axis=0)
    freedom = sum(len(means) - 1 for means in by_group.values())
    own = [means for (attribute, _), means in by_group.items() if groups.startswith(f"{attribute}: ")]
    variance = max(_pooled(list(by_group.values())), _pooled(own))
    return _Spread(variance, freedom)


def _pooled(groups: Sequence[Array]) -> float:
    """The variance within groups."""
    squares = sum(float(((means - means.mean()) ** 2).sum()) for means in groups)
    return squares / sum(len(means) - 1 for means in groups)


def remarkable(found: Sequence[Finding], most: int) -> list[Finding]:
    """Those that were found, and the nearest to it: at most so many, unless more were found."""
    order = sorted(found, key=lambda one: (not one.found, one.p, -abs(one.effect or 0)))
    return order[: max(most, sum(one.found for one in found))]


def sentence(found: Sequence[Finding]) -> str:
    """What may be claimed of a model, and what not."""
    beyond = sum(one.found for one in found)
    if not beyond:
        return (
            f"None of {len(found)} comparisons of groups differs by more than chance and other wordings explain. That "
            "is no proof that the model treats groups alike."
        )
    return (
        f"{beyond} of {len(found)} comparisons of groups differ by more than chance and other wordings explain. These "
        "are associations in synthetic notes or swapped texts, not harm that was observed."
    )
