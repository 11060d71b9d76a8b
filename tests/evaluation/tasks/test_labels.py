"""Several labels per text: file formats, thresholds from the development split, scores of scikit-learn."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from sklearn import metrics

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.evaluation.fine_tuning.fine_tuned import FineTuned
from clinical_modernbert.evaluation.fine_tuning.kind import ALL, Record
from clinical_modernbert.evaluation.models.model import EvaluatedModel
from clinical_modernbert.evaluation.models.protocol import Protocol
from clinical_modernbert.evaluation.tasks.labels import (
    LabelsTask,
    best_threshold,
    decide,
    read_labels_task,
    score_labels,
    tune,
)

from ..conftest import run_task


def task(**fields: object) -> LabelsTask:
    return LabelsTask.model_validate({"kind": "labels", "train": "a.jsonl", "test": "a.jsonl", **fields})


def records(scores: np.ndarray, truth: np.ndarray, names: Sequence[str]) -> list[Record]:
    return [
        {
            "labels": [name for name, true in zip(names, row, strict=True) if true],
            "scores": dict(zip(names, map(float, values), strict=True)),
        }
        for row, values in zip(truth, scores, strict=True)
    ]


def test_every_spelling_of_a_list_gives_the_same_labels(tmp_path: Path) -> None:
    rows = [["250", "b c"], [], ["b c"]]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": "x", "labels": row}) + "\n" for row in rows))
    (tmp_path / "numbers.jsonl").write_text(
        '{"text": "x", "labels": [250, "b c", "250"]}\n{"text": "x", "labels": []}\n{"text": "x", "labels": ["b c"]}\n'
    )
    (tmp_path / "a.tsv").write_text("text\tlabels\nx\t250;b c\nx\t\nx\tb c;\n")
    (tmp_path / "pandas.csv").write_text("text,labels\nx,\"['250', 'b c']\"\nx,[]\nx,\"['b c']\"\n")
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    pq.write_table(pa.table({"text": ["x"] * 3, "labels": rows}), tmp_path / "a.parquet")
    for name in ("a.jsonl", "numbers.jsonl", "a.tsv", "pandas.csv", "a.parquet"):
        separator = ";" if name == "a.tsv" else None
        train = read_labels_task(task(train=name, test=name, separator=separator), tmp_path).train
        assert [list(text.label) for text in train] == rows, name


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ('"secret"', r"line 1: labels is one text; expected a list of labels: set task\.separator"),
        ("null", r"line 1: labels is of the type NoneType; expected a list of labels, \[\] for none"),
        ("7", r"line 1: labels is of the type int; expected a list"),
        ('["secret", null]', r"line 1: a label of labels is of the type NoneType; expected a text or a number"),
        ('["secret", 0.25]', r"line 1: a label of labels is a number with a fraction"),
        ('["secret", ["b"]]', r"line 1: a label of labels is of the type list"),
        ('["secret", true]', r"line 1: a label of labels is of the type bool"),
        ('"[secret"', r"line 1: labels begins with \[ but is not a list"),
        ('["secret"]', r"a\.jsonl: fewer than two labels"),
    ],
)
def test_errors_do_not_show_labels(value: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(f'{{"text": "x", "labels": {value}}}\n')
    with pytest.raises(UserError, match=message) as error:
        read_labels_task(task(), tmp_path)
    assert "secret" not in str(error.value)


def test_labels_that_only_the_test_has_are_announced_and_missed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "x", "labels": ["a", "b"]}\n')
    (tmp_path / "b.jsonl").write_text('{"text": "x", "labels": ["a", "new"]}\n{"text": "x", "labels": ["new"]}\n')
    read_labels_task(task(test="b.jsonl"), tmp_path)
    assert "b.jsonl: 2 of 3 labels count as missed: no training text has them" in caplog.text
    scores = score_labels([{"labels": ["a", "new"], "scores": {"a": 0.9, "b": 0.1}, "predictions": ["a"]}], [1])
    assert (scores["recall"], scores["precision"], scores["precision@1"]) == (0.5, 1.0, 1.0)
    (tmp_path / "c.jsonl").write_text('{"text": "x", "labels": []}\n')
    with pytest.raises(UserError, match=r"c\.jsonl: no text has a label"):
        read_labels_task(task(test="c.jsonl"), tmp_path)


def test_thresholds_are_the_best_of_all_and_scores_are_scikit_learns() -> None:
    random = np.random.default_rng(0)
    names = list("abcdef")
    truth = random.random((60, 6)) < [0.5, 0.3, 0.2, 0.1, 0.05, 0.0]
    scores = np.round(np.clip(0.3 * truth + 0.6 * random.random((60, 6)), 0, 1), 3)
    development = records(scores, truth, names)
    every = {float(value) for value in scores.reshape(-1)}

    def f1(threshold: float, columns: list[int]) -> float:
        chosen = scores[:, columns].reshape(-1) >= threshold
        correct = (truth[:, columns].reshape(-1) & chosen).sum()
        return float(2 * correct / (truth[:, columns].sum() + chosen.sum()))

    one = tune(task(), development)
    assert one.keys() == {ALL}
    assert f1(one[ALL], [*range(6)]) == max(f1(value, [*range(6)]) for value in every)
    each = tune(task(thresholds="each"), development)
    assert each.keys() == {ALL, *"abcde"}
    for column, name in enumerate("abcde"):
        assert f1(each[name], [column]) == max(f1(value, [column]) for value in every)
    assert best_threshold(np.array([0.2, 0.9]), np.array([False, True])) == pytest.approx(0.55)

    decided = [decide(None, record, each) for record in development]
    chosen = np.array([[name in record["predictions"] for name in names] for record in decided])
    found = score_labels(decided, (5, 8))
    assert found["micro_f1"] == pytest.approx(metrics.f1_score(truth, chosen, average="micro"))
    assert found["macro_auroc"] == pytest.approx(metrics.roc_auc_score(truth[:, :5], scores[:, :5], average="macro"))
    area = metrics.average_precision_score(truth, scores, average="micro")
    assert found["micro_average_precision"] == pytest.approx(area)
    likeliest = np.argsort(-scores, axis=1, kind="stable")[:, :5]
    assert found["precision@5"] == pytest.approx(np.take_along_axis(truth, likeliest, axis=1).mean())
    assert "precision@8" not in found


@pytest.mark.slow
def test_labels_of_pairs_are_learned(ours: EvaluatedModel, tmp_path: Path, quick: Protocol) -> None:
    with (tmp_path / "a.jsonl").open("w") as file:
        for number in range(64):
            labels = [name for bit, name in enumerate(("fever", "cough", "pain")) if number >> bit & 1]
            text = {"text": " ".join(labels[:1] or ["heart"]), "pair": " ".join(labels[1:] or ["lung"])}
            file.write(json.dumps({**text, "labels": labels}) + "\n")
    with_development = task(pair="pair", development="a.jsonl", thresholds="each", at=[1, 4])
    outcome = run_task(ours, with_development, tmp_path, quick.model_copy(update={"epochs": 12}))
    assert outcome.scores["micro_f1"] > 0.95
    assert outcome.scores["macro_auroc"] > 0.95
    assert outcome.scores["cut"] == 0
    assert isinstance(outcome.fine_tuned, FineTuned)
    assert outcome.fine_tuned.tuned.keys() == {ALL, "fever", "cough", "pain"}
    assert outcome.records[3].keys() == {"id", "labels", "scores", "predictions", "tokens", "cut"}
    assert outcome.records[3]["labels"] == ["cough", "fever"]
