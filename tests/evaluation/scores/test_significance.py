"""Significance: against scipy's permutation test, and under repeated sampling from a known truth."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from clinical_modernbert.evaluation.scores import significance
from clinical_modernbert.evaluation.scores.rank_statistics import ranked
from clinical_modernbert.evaluation.scores.significance import compare, correct
from clinical_modernbert.evaluation.scores.units import Score


def scores(values: np.ndarray) -> list[Score]:
    """One score per row, (seeds, units)."""
    return [Score("mean", row) for row in values]


def test_p_is_that_of_scipys_exact_permutation_test() -> None:
    random = np.random.default_rng(1)
    a = random.normal(size=9)
    b = a + random.normal(0.4, 0.5, size=9)
    exact = stats.permutation_test(
        (b, a), lambda x, y, axis: np.mean(x - y, axis=axis), permutation_type="samples", n_resamples=np.inf
    )
    found = compare(scores(a[None]), scores(b[None]))
    assert found.difference == pytest.approx(b.mean() - a.mean())
    assert found.p == pytest.approx(exact.pvalue, abs=0.03)


def test_the_interval_is_that_of_scipys_bootstrap() -> None:
    random = np.random.default_rng(2)
    a, b = random.normal(size=(2, 80))
    reference = stats.bootstrap(
        (b, a), lambda x, y, axis: np.mean(x - y, axis=axis), paired=True, method="percentile", n_resamples=9999,
        rng=np.random.default_rng(0),
    )  # fmt: skip
    found = compare(scores(a[None]), scores(b[None]))
    assert (found.low, found.high) == pytest.approx(tuple(reference.confidence_interval), abs=0.02)


@pytest.mark.slow
def test_intervals_hold_and_false_claims_are_rare(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over tests drawn again and again: documents have an effect of their own, and so has each fine-tuning."""
    monkeypatch.setattr(significance, "SAMPLES", 400)
    random, documents, seeds, truth = np.random.default_rng(3), 100, 5, 0.3

    def draw(difference: float) -> tuple[list[Score], list[Score]]:
        difficulty = random.normal(size=documents)
        return tuple(  # type: ignore[return-value]
            scores(
                difficulty + random.normal(size=documents) + shift + random.normal(size=(seeds, documents))
                + 0.05 * random.normal(size=(seeds, 1))
            )
            for shift in (0.0, difference)
        )  # fmt: skip

    found = [compare(*draw(truth)) for _ in range(200)]
    assert 0.88 <= np.mean([one.low <= truth <= one.high for one in found]) <= 1.0
    null = [compare(*draw(0.0)) for _ in range(200)]
    claimed = np.mean([one.p < 0.05 and (one.low > 0 or one.high < 0) for one in null])
    assert claimed <= 0.10
    assert np.mean([one.p < 0.05 for one in found]) > 0.3


def test_seeds_widen_the_interval_and_the_same_predictions_do_not_differ() -> None:
    random = np.random.default_rng(4)
    units = random.normal(size=200)
    equal = compare(scores(np.stack([units] * 3)), scores(np.stack([units] * 3)))
    assert equal == (0.0, 0.0, 0.0, 1.0)
    seeds = np.array([[-0.3], [0.0], [0.3]])
    wide = compare(scores(units + seeds), scores(units + 1 + seeds))
    assert wide.low < 0.8 < 1.2 < wide.high
    narrow = compare(scores(units + 0 * seeds), scores(units + 1 + 0 * seeds))
    assert narrow.high - narrow.low < 1e-9
    assert narrow.p == 1 / (1 + significance.SAMPLES)


def test_areas_are_computed_again_for_every_exchange_and_sample() -> None:
    random = np.random.default_rng(5)
    truth = random.random((30, 3)) < 0.4
    first, second = random.random((30, 3)), random.random((30, 3)) + truth
    one, other = (Score("macro_auroc", ranked(scores, truth)) for scores in (first, second))
    exchanged = random.integers(2, size=(4, 30)).astype(float)
    for row, difference in zip(exchanged, significance._exchange(one, other, exchanged), strict=True):
        sides = (np.where(row[:, None], a, b) for a, b in ((first, second), (second, first)))
        areas = [metrics.roc_auc_score(truth, side, average="macro") for side in sides]
        assert difference == pytest.approx(areas[0] - areas[1])
    found = compare([one], [other])
    assert 0 < found.low < found.difference < found.high
    assert found.p < 0.01
    assert compare([one], [one])[:3] == (0.0, 0.0, 0.0)


def test_models_with_other_units_are_not_compared() -> None:
    with pytest.raises(ValueError, match="different numbers"):
        compare(scores(np.ones((1, 5))), scores(np.ones((1, 6))))
    with pytest.raises(ValueError, match="different numbers"):
        compare(scores(np.ones((1, 5))), scores(np.ones((2, 5))))


def test_holms_correction_computed_by_hand() -> None:
    assert correct([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert correct([0.9, 0.8]) == [1.0, 1.0]
    assert correct([]) == []
