"""Counts by class, confusions and calibration are those of scikit-learn."""

from collections.abc import Callable

import numpy as np
import pytest
from predicted import CHAPTERS, SECTIONS, one_class, several_classes, spans
from sklearn.calibration import calibration_curve
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from clinical_modernbert.evaluation.analysis.classes import NOTHING, confusion, count_classes, micro, reliability
from clinical_modernbert.evaluation.analysis.predictions import Prediction, Run, classes_of, kind_of

DRAW = np.random.default_rng(3)


def examples(rows: list[dict]) -> list[Prediction]:
    return [Prediction.model_validate(row) for row in rows]


def test_one_class_per_text() -> None:
    found = examples(one_class(DRAW, 2.5))
    assert kind_of(found[0]) == "class"
    labels, predictions = [one.label for one in found], [one.prediction for one in found]
    assert (confusion(found, SECTIONS) == confusion_matrix(labels, predictions, labels=SECTIONS)).all()
    counts = count_classes(found, SECTIONS)
    values = [(one.precision, one.recall, one.f1) for one in counts.values()]
    expected = precision_recall_fscore_support(labels, predictions, labels=SECTIONS, zero_division=0)
    np.testing.assert_allclose(np.array(values).T, np.array(expected[:3]))
    assert [one.correct + one.missed for one in counts.values()] == expected[3].tolist()
    assert micro(list(counts.values())).f1 == pytest.approx(np.mean(np.array(labels) == predictions))


def test_several_classes_per_text() -> None:
    found = examples(several_classes(DRAW, 1.0))
    assert kind_of(found[0]) == "classes"
    labels, predictions = (
        np.array([[name in (chosen or ()) for name in CHAPTERS] for chosen in column])
        for column in ([one.labels for one in found], [one.predictions for one in found])
    )
    expected = precision_recall_fscore_support(labels, predictions, zero_division=0)
    counts = count_classes(found, CHAPTERS)
    np.testing.assert_allclose([(one.precision, one.recall, one.f1) for one in counts.values()],
                               np.array(expected[:3]).T)  # fmt: skip
    whole = precision_recall_fscore_support(labels, predictions, average="micro")
    assert micro(list(counts.values()))[0] == (labels & predictions).sum()
    assert micro(list(counts.values())).f1 == pytest.approx(whole[2])


@pytest.mark.parametrize("make", [one_class, several_classes])
def test_calibration_curve_and_error(make: Callable[[np.random.Generator, float], list[dict]]) -> None:
    found = examples(make(DRAW, 1.5))
    if make is one_class:
        probability = np.array([one.scores[str(one.prediction)] for one in found])
        right = np.array([one.label == one.prediction for one in found])
    else:
        probability = np.array([one.scores[name] for one in found for name in CHAPTERS])
        right = np.array([name in (one.labels or ()) for one in found for name in CHAPTERS])
    result = reliability(found)
    assert result is not None
    accuracy, confidence = calibration_curve(right, probability, n_bins=10)
    np.testing.assert_allclose(result.accuracy, accuracy)
    np.testing.assert_allclose(result.confidence, confidence)
    error = sum(
        abs(probability[inside].mean() - right[inside].mean()) * inside.mean()
        for low in np.arange(10) / 10
        if (inside := (probability > low) & (probability <= low + 0.1)).any()
    )
    assert result.error == pytest.approx(error)
    assert reliability([one.model_copy(update={"scores": {}}) for one in found]) is None


def test_spans() -> None:
    """By hand: one right, one of another type, one with other bounds, one missed."""
    row = {"id": "s", "words": 20, "tokens": 30,
           "spans": [[0, 2, "Disease"], [4, 5, "Disease"], [8, 9, "Chemical"], [12, 13, "Chemical"]],
           "predictions": [[0, 2, "Disease"], [4, 5, "Chemical"], [8, 10, "Chemical"]]}  # fmt: skip
    found = examples([row])
    assert kind_of(found[0]) == "spans"
    assert classes_of([Run(0, found)]) == ["Chemical", "Disease"]
    counts = count_classes(found, ["Chemical", "Disease"])
    assert counts == {"Chemical": (0, 2, 2), "Disease": (1, 0, 1)}
    # rows and columns: Chemical, Disease, none
    assert confusion(found, ["Chemical", "Disease"]).tolist() == [[0, 0, 2], [1, 1, 0], [1, 0, 0]]
    assert NOTHING == "none"
    many = examples(spans(DRAW, 0.8))
    together = micro(list(count_classes(many, ["Chemical", "Disease"]).values()))
    assert together.correct == sum(len(one.wanted() & one.found()) for one in many) > 100
