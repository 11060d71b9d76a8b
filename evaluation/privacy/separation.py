"""How well a score separates members from non-members: area under the ROC curve, and true positives at few false ones.

Intervals are percentiles of the bootstrap over patients: members and non-members are drawn with replacement, each
patient with all his documents, because notes of one patient are alike. The true-positive rate at a low false-positive
rate is what an attacker needs, who is sure of few patients rather than half-sure of all (Carlini et al. 2022, arXiv
2112.03570).
"""

import numpy as np
import numpy.typing as npt

from ..scores.rank_statistics import auroc
from .report import Estimate, Separation

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

LEVEL = 0.95
DRAWS = 1_000
FALSE_POSITIVES = 0.01
_ROUNDING = 1e-9  # of sums of weights


def separate(scores: Floats, is_member: Mask, patients: Integers, seed: int) -> Separation:
    """Compare the scores of members with those of the others; higher means member.

    Args:
        scores: of each unit (n,).
        patients: of each unit (n,). No patient is on both sides.
    Raises:
        ValueError: one side is empty.
    """
    if is_member.all() or not is_member.any():
        raise ValueError("a separation needs members and others")
    weights = draw_patients(is_member, patients, seed)
    truth, others = is_member.astype(np.float64), int((~is_member).sum())
    once = np.ones((1, len(scores)))
    areas = auroc(scores, truth, np.vstack([once, weights]))
    rates = true_positives(scores, truth, np.vstack([once, weights])) if others * FALSE_POSITIVES >= 1 else None
    return Separation(
        members=len(scores) - others,
        others=others,
        auc=estimate(areas[0], areas[1:]),
        tpr=None if rates is None else estimate(rates[0], rates[1:]),
    )


def draw_patients(is_member: Mask, patients: Integers, seed: int) -> Floats:
    """How often each unit is in each sample of patients, (DRAWS, n). Each side keeps its number of patients."""
    random = np.random.default_rng(seed)
    weights = np.zeros((DRAWS, len(patients)))
    for side in (is_member, ~is_member):
        _, owners = np.unique(patients[side], return_inverse=True)
        count = int(owners.max(initial=-1)) + 1
        if count:
            weights[:, side] = random.multinomial(count, np.full(count, 1 / count), size=DRAWS)[:, owners]
    return weights


def true_positives(scores: Floats, truth: Floats, weights: Floats, rate: float = FALSE_POSITIVES) -> Floats:
    """The largest share of members above a threshold that at most `rate` of the others pass, (B, n) -> (B,)."""
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.diff(scores[order], append=-np.inf))  # a threshold never divides equal scores
    found, false = (np.cumsum((weights * side)[:, order], axis=1)[:, ends] for side in (truth, 1 - truth))
    allowed = false <= rate * false[:, -1:] + _ROUNDING
    return np.where(allowed, found, 0).max(axis=1) / found[:, -1]


def estimate(value: float, drawn: Floats) -> Estimate:
    """A value with the interval of what samples of the patients gave."""
    low, high = np.nanquantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value=round(float(value), 4), low=round(float(low), 4), high=round(float(high), 4))


def difference(hits: Floats, trials: Floats, is_member: Mask, patients: Integers, seed: int) -> Estimate:
    """The rate of hits of members less that of the others, from the hits and trials of each unit (n,)."""
    weights = np.vstack([np.ones((1, len(hits))), draw_patients(is_member, patients, seed)])
    rates = [(weights[:, side] @ hits[side]) / np.maximum(weights[:, side] @ trials[side], _ROUNDING)
             for side in (is_member, ~is_member)]  # fmt: skip
    differences = rates[0] - rates[1]
    return estimate(differences[0], differences[1:])
