"""Areas, rates and intervals against scikit-learn, brute force and populations whose truth is known."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from clinical_modernbert.evaluation.privacy.separation import (
    DRAWS,
    Separation,
    difference,
    draw_patients,
    separate,
    true_positives,
)


def test_area_and_rate_are_those_of_scikit_learn_with_ties_and_weights() -> None:
    random = np.random.default_rng(0)
    for case in range(20):
        n = int(random.integers(4, 400))
        scores = random.integers(0, random.choice([2, 7, 1000]), n).astype(np.float64)
        is_member = random.random(n) < 0.5
        is_member[:2] = [True, False]
        weights = random.integers(0, 3, (2, n)).astype(np.float64)
        weights[:, :2] += 1
        found = true_positives(scores, is_member.astype(np.float64), weights)
        for row, rate in zip(weights, found, strict=True):
            false, true, _ = roc_curve(is_member, scores, sample_weight=row, drop_intermediate=False)
            assert rate == pytest.approx(true[false <= 0.01 + 1e-9].max()), case
        result = separate(scores, is_member, np.arange(n), seed=0)
        assert result.auc.value == pytest.approx(roc_auc_score(is_member, scores), abs=1e-4), case
        assert result.auc.low <= result.auc.value <= result.auc.high, case


def test_a_sample_draws_patients_with_all_their_documents() -> None:
    is_member = np.array([True] * 7 + [False] * 5)
    patients = np.array([3, 3, 3, 8, 8, 9, 1, 20, 20, 21, 22, 22])
    weights = draw_patients(is_member, patients, seed=4)
    assert weights.shape == (DRAWS, 12)
    for patient in set(patients.tolist()):
        assert (np.ptp(weights[:, patients == patient], axis=1) == 0).all()
    firsts = np.unique(patients, return_index=True)[1]
    for side in (is_member, ~is_member):
        assert (weights[:, firsts[side[firsts]]].sum(axis=1) == len(set(patients[side].tolist()))).all()
    assert (weights == draw_patients(is_member, patients, seed=4)).all()
    assert (weights != draw_patients(is_member, patients, seed=5)).any()


def population(random: np.random.Generator, shift: float, of: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """20 patients a side with `of` documents each, which are alike: most of the spread is between patients."""
    patients = np.repeat(np.arange(40), of)
    is_member = patients < 20
    scores = random.normal(size=40)[patients] + 0.2 * random.normal(size=len(patients)) + shift * is_member
    return scores, is_member, patients


@pytest.mark.slow
def test_intervals_by_patient_hold_the_truth_and_intervals_by_document_would_not() -> None:
    random = np.random.default_rng(1)
    by_patient: list[bool] = []
    by_document: list[bool] = []
    for case in range(20):
        scores, is_member, patients = population(random, 0.0, of=6)
        for held, units in ((by_patient, patients), (by_document, np.arange(len(scores)))):
            auc = separate(scores, is_member, units, seed=case).auc
            held.append(auc.low <= 0.5 <= auc.high)
    assert np.mean(by_patient) >= 0.85
    assert np.mean(by_document) <= 0.75


def test_a_rate_at_one_percent_needs_a_hundred_others() -> None:
    random = np.random.default_rng(2)
    for others, stated in ((99, False), (100, True)):
        is_member = np.arange(others + 50) < 50
        result = separate(random.normal(size=others + 50) + is_member * 50, is_member, np.arange(others + 50), seed=0)
        assert (result.tpr is not None) == stated
        assert result.auc.value == 1.0
        assert (result.members, result.others) == (50, others)
        assert Separation.model_validate_json(result.model_dump_json()) == result


def test_a_difference_of_rates_and_its_interval() -> None:
    random = np.random.default_rng(3)
    patients = np.repeat(np.arange(60), 5)
    is_member = patients < 30
    trials = random.integers(0, 6, 300).astype(np.float64)
    hits = random.binomial(trials.astype(int), np.where(is_member, 0.5, 0.1)).astype(np.float64)
    result = difference(hits, trials, is_member, patients, seed=0)
    expected = hits[is_member].sum() / trials[is_member].sum() - hits[~is_member].sum() / trials[~is_member].sum()
    assert result.value == pytest.approx(expected, abs=1e-4)
    assert 0.3 < result.low <= 0.4 < result.high < 0.5
    for one_side in (is_member, ~is_member):
        with pytest.raises(ValueError, match="needs members and others"):
            separate(hits[one_side], is_member[one_side], patients[one_side], seed=0)
