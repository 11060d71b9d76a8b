"""Paired intervals: scipy's own, their coverage, and the number of pairs that a width needs."""

import numpy as np
import pytest
from scipy import stats

from clinical_modernbert.evaluation.scores.paired import MOST_PAIRS, compare, pairs_needed, quantile


def test_the_interval_is_that_of_a_paired_t_test() -> None:
    rng = np.random.default_rng(0)
    for pairs, level in ((2, 0.95), (5, 0.95), (8, 0.99)):
        first = rng.normal(0.5, 0.1, pairs)
        second = first + rng.normal(0.02, 0.01, pairs)
        found = compare(first.tolist(), second.tolist(), level)
        low, high = stats.ttest_rel(second, first).confidence_interval(level)
        assert found.half_width is not None
        assert (found.difference - found.half_width, found.difference + found.half_width) == pytest.approx((low, high))
        assert found.differs == (stats.ttest_rel(second, first).pvalue < 1 - level)


def test_what_seeds_share_cancels() -> None:
    """Scores that vary widely from seed to seed, but equally in both recipes, give a narrow interval."""
    first = [0.1, 0.9, 0.4, 0.7]
    found = compare(first, [score + 0.01 for score in first], 0.95)
    assert found.differs
    assert found.difference == pytest.approx(0.01)
    assert not compare(first, [0.7, 0.1, 0.9, 0.4], 0.95).differs


def test_recipes_without_a_difference_are_claimed_to_differ_as_often_as_the_level_says() -> None:
    rng = np.random.default_rng(1)
    trials = 400
    wrong = sum(compare([0.0] * 4, rng.normal(0, 1, 4).tolist(), 0.95).differs for _ in range(trials))
    assert 0.01 * trials < wrong < 0.09 * trials


def test_one_pair_has_no_interval_and_none_is_an_error() -> None:
    found = compare([0.5], [0.6], 0.95)
    assert (found.half_width, found.deviation, found.differs) == (None, None, False)
    with pytest.raises(ValueError, match="no pair"):
        compare([], [], 0.95)
    with pytest.raises(ValueError, match="argument 2"):
        compare([1.0, 2.0], [1.0], 0.95)


def test_the_pairs_needed_are_the_least_that_suffice() -> None:
    for deviation, half_width in ((0.02, 0.005), (0.001, 0.005), (0.5, 0.1)):
        needed = pairs_needed(deviation, half_width, 0.95)
        assert needed is not None
        assert quantile(needed, 0.95) * deviation / needed**0.5 <= half_width
        assert needed == 2 or quantile(needed - 1, 0.95) * deviation / (needed - 1) ** 0.5 > half_width
    assert pairs_needed(0.0, 0.005, 0.95) == 2
    assert pairs_needed(10.0, 0.001, 0.95) is None
    assert quantile(MOST_PAIRS, 0.95) == pytest.approx(1.96, abs=0.01)
