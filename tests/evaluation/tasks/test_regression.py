"""Numbers for texts and pairs: in their unit, whatever it is."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.evaluation.models.model import EvaluatedModel
from clinical_modernbert.evaluation.models.protocol import Protocol
from clinical_modernbert.evaluation.tasks.regression import RegressionTask, read_regression, score_numbers

from ..conftest import run_task


def task(**fields: object) -> RegressionTask:
    return RegressionTask.model_validate({"kind": "regression", "train": "a.jsonl", "test": "a.jsonl", **fields})


def test_scores_are_those_of_scipy_and_scikit_learn() -> None:
    random = np.random.default_rng(0)
    truth = random.integers(5, size=40).astype(float)
    predictions = truth + random.normal(size=40)
    scores = score_numbers(truth.tolist(), predictions.tolist())
    assert scores == pytest.approx(
        {
            "pearson": stats.pearsonr(truth, predictions).statistic,
            "spearman": stats.spearmanr(truth, predictions).statistic,
            "mean_squared_error": metrics.mean_squared_error(truth, predictions),
            "mean_absolute_error": metrics.mean_absolute_error(truth, predictions),
        }
    )
    assert score_numbers([1.0, 2.0], [1.5, 1.5])["pearson"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("which", ["ours", "bert"])
def test_numbers_of_pairs_are_learned_in_their_unit(
    which: str, tmp_path: Path, quick: Protocol, request: pytest.FixtureRequest
) -> None:
    """Far from 0 and 1, where a head would need very large weights."""
    model: EvaluatedModel = request.getfixturevalue(which)
    with (tmp_path / "a.jsonl").open("w") as file:
        for number in range(64):
            first, second = number % 2, number // 2 % 2
            texts = {"text": "fever" if first else "cough", "pair": "pain" if second else "heart"}
            file.write(json.dumps({**texts, "label": -7000 + 2000 * first + 500 * second}) + "\n")
    protocol = quick.model_copy(update={"epochs": 12 if model.unpadded else 20})
    outcome = run_task(model, task(pair="pair"), tmp_path, protocol)
    assert outcome.scores["pearson"] > 0.97
    assert outcome.scores["mean_absolute_error"] < 200
    assert outcome.records[3].keys() == {"id", "label", "prediction", "tokens", "cut"}
    assert outcome.records[3]["label"] == -4500


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ('"secret"', r"line 1: label is not a number"),
        ("null", r"line 1: label is not a number"),
        ("[1]", r"line 1: label is not a number"),
        ("NaN", r"line 1: label is not a number"),
        ("true", r"line 1: label is not a number"),
        ("3", r"a\.jsonl: every label is the same"),
    ],
)
def test_errors_do_not_show_values(value: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(f'{{"text": "x", "label": {value}}}\n')
    with pytest.raises(UserError, match=message) as error:
        read_regression(task(), tmp_path)
    assert "secret" not in str(error.value)
