"""The texts of tasks of every kind, by split, for the search for them in training data."""

import json
from pathlib import Path
from typing import Any

import pytest

from clinical_modernbert.evaluation.suite import Evaluation
from clinical_modernbert.evaluation.texts import read_texts


def lines(path: Path, *records: dict[str, Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


TABLE = {"train": "train.jsonl", "test": "test.jsonl"}
SEARCH = {"train": "qrels/test.tsv"}


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ({"kind": "classification", **TABLE}, ("fever",)),
        ({"kind": "classification", "pair": "pair", **TABLE}, ("fever", "cough")),
        ({"kind": "labels", **TABLE}, ("fever",)),
        ({"kind": "labels", "pair": "pair", **TABLE}, ("fever", "cough")),
        ({"kind": "regression", "label": "number", "pair": "pair", **TABLE}, ("fever", "cough")),
        ({"kind": "questions", "unanswerable": True, **TABLE}, ("What?", "fever and cough")),
        (
            {"kind": "similarity", "test": "test.jsonl", "first": "text", "second": "pair", "score": "number"},
            ("fever", "cough"),
        ),
        ({"kind": "retrieval"}, ("What?",)),
        ({"kind": "reranking", **SEARCH}, ("What?",)),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else "",
)
def test_the_first_text_of_the_test(task: dict[str, Any], expected: tuple[str, ...], tmp_path: Path) -> None:
    record = {"text": "fever", "pair": "cough", "label": "a", "labels": ["a"], "number": 1.0, "id": "1",
              "question": "What?", "context": "fever and cough", "answers": [[0, 5]]}  # fmt: skip
    other = {**record, "text": "pain", "label": "b", "labels": ["b"], "number": 2.0, "id": "2"}
    for name in ("train", "test"):
        lines(tmp_path / f"{name}.jsonl", record, other)
    lines(tmp_path / "queries.jsonl", {"_id": "q", "text": "What?"})
    lines(tmp_path / "corpus.jsonl", {"_id": "d", "text": "fever"})
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq\td\t1\n")
    texts = read_texts(Evaluation.model_validate({"name": "toy", "data": tmp_path, "task": task}))
    assert texts["test"][0] == expected
    assert texts.keys() - {"test"} == ({"train"} if "train.jsonl" in task.values() else texts.keys() & {"corpus"})
