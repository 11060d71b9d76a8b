"""Scores from sums over units equal those of the libraries, for all units and for any sample of them."""

import numpy as np
import pytest
import seqeval.metrics
import seqeval.scheme
from scipy import stats
from sklearn import metrics

from clinical_modernbert.evaluation.scores.rank_statistics import RANKED, ranked
from clinical_modernbert.evaluation.scores.units import FUNCTIONS, Score, label_outcomes, micro, moments, outcomes
from clinical_modernbert.evaluation.tasks.ner import score_entities

RANDOM = np.random.default_rng(0)
TAGS = ["O", "O", "B-D", "I-D", "B-C", "I-C"]


def samples(size: int) -> list[np.ndarray]:
    """All units, and draws with replacement."""
    return [np.arange(size), *(RANDOM.integers(size, size=size) for _ in range(5))]


def of_sample(score: Score, sample: np.ndarray) -> float:
    return float(score.of_weights(np.bincount(sample, minlength=len(score.units))[None].astype(float))[0])


def test_scores_of_classes() -> None:
    labels, predictions = RANDOM.choice(list("abcd"), 60, p=[0.6, 0.3, 0.05, 0.05]), RANDOM.choice(list("abce"), 60)
    units = outcomes(labels.tolist(), predictions.tolist(), "abcde")
    for sample in samples(60):
        truth, chosen = labels[sample], predictions[sample]
        for average in ("macro", "weighted"):
            expected = metrics.f1_score(truth, chosen, average=average, zero_division=0)
            assert of_sample(Score(f"{average}_f1", units), sample) == pytest.approx(expected)  # type: ignore[arg-type]
        some = micro(outcomes(labels.tolist(), predictions.tolist(), "bcd"))
        expected = metrics.precision_recall_fscore_support(
            truth, chosen, labels=list("bcd"), average="micro", zero_division=0
        )[:3]
        names = ("precision", "recall", "f1")
        assert [of_sample(Score(name, some), sample) for name in names] == pytest.approx(expected)  # type: ignore[arg-type]


def test_scores_of_several_labels() -> None:
    """Labels that are never true, always true and equally scored are among them."""
    truth = RANDOM.random((40, 6)) < [0.5, 0.3, 0.1, 0.0, 1.0, 0.4]
    scores = RANDOM.integers(5, size=(40, 6)) / 4
    chosen = scores > 0.6
    units, order = label_outcomes(truth, chosen), ranked(scores, truth)
    for sample in samples(40):
        real, found, values = truth[sample], chosen[sample], scores[sample]
        expected = metrics.precision_recall_fscore_support(real, found, average="micro", zero_division=0)[:3]
        found_scores = [of_sample(Score(name, micro(units)), sample) for name in ("precision", "recall", "f1")]
        assert found_scores == pytest.approx(expected)
        occurs = (real | found).any(axis=0)
        macro = metrics.f1_score(real, found, average="macro", labels=np.flatnonzero(occurs), zero_division=0)
        assert of_sample(Score("macro_f1", units), sample) == pytest.approx(macro)
        both = real.any(axis=0) & ~real.all(axis=0)
        areas = {
            "macro_auroc": metrics.roc_auc_score(real[:, both], values[:, both], average="macro"),
            "micro_auroc": metrics.roc_auc_score(real, values, average="micro"),
            "macro_average_precision": metrics.average_precision_score(
                real[:, real.any(axis=0)], values[:, real.any(axis=0)], average="macro"
            ),
            "micro_average_precision": metrics.average_precision_score(real, values, average="micro"),
        }
        for name, area in areas.items():
            assert of_sample(Score(name, order), sample) == pytest.approx(area)  # type: ignore[arg-type]


def test_scores_of_entities() -> None:
    truth, found = ([RANDOM.choice(TAGS, 8).tolist() for _ in range(40)] for _ in range(2))
    scores = score_entities(truth, found)
    for sample in samples(40):
        arguments = {"y_true": [truth[at] for at in sample], "y_pred": [found[at] for at in sample], "zero_division": 0}
        expected = {
            "f1": seqeval.metrics.f1_score(**arguments),
            "precision": seqeval.metrics.precision_score(**arguments),
            "recall": seqeval.metrics.recall_score(**arguments),
            "strict_f1": seqeval.metrics.f1_score(**arguments, mode="strict", scheme=seqeval.scheme.IOB2),
        }
        report = seqeval.metrics.classification_report(**arguments, output_dict=True)
        expected |= {f"f1 {kind}": report[kind]["f1-score"] for kind in "CD"}
        assert {name: of_sample(score, sample) for name, score in scores.items()} == pytest.approx(expected)


def test_correlations() -> None:
    x = RANDOM.normal(size=50) + 1e3
    y = x + RANDOM.normal(size=50)
    score = Score("correlation", moments(x, y))
    for sample in samples(50):
        assert of_sample(score, sample) == pytest.approx(stats.pearsonr(x[sample], y[sample]).statistic, abs=1e-9)
    for value, count in ((1.0, 5), (0.1, 3), (0.1, 50), (1 / 3, 49), (1e3 + 0.1, 7)):
        assert Score("correlation", moments(np.full(count, value), x[:count])) == 0


def test_means_are_weighted_and_totals_are_not() -> None:
    assert Score("mean", [1, 0, 0, 1]) == 0.5
    assert Score("mean", [[6, 2], [0, 1]]) == 2
    assert Score("total", [1, 2, 3]) == 6


@pytest.mark.parametrize("function", [*FUNCTIONS, *RANKED])
def test_nothing_scores_0_and_many_sums_are_scored_at_once(function: str) -> None:
    units = RANDOM.integers(5, size=(7, 6)).astype(float)
    score = Score(function, units)  # type: ignore[arg-type]
    weights = RANDOM.integers(3, size=(4, 7)).astype(float)
    assert score.of_weights(weights).tolist() == pytest.approx([score.of_weights(row[None])[0] for row in weights])
    assert Score(function, np.zeros((3, 6))) == 0  # type: ignore[arg-type]
