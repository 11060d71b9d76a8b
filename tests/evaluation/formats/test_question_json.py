"""PubMedQA's and BioASQ's questions as they are published; splits do not overlap, and errors show no text."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.evaluation.formats.records import read_records
from clinical_modernbert.evaluation.tasks.classification import ClassificationTask, read_classification

COLUMNS = ["question", "context", "answer"]
SECRET = "undisclosed"


def read(path: Path) -> list[dict[str, Any]]:
    records = list(read_records(path, COLUMNS))
    assert [number for number, _ in records] == list(range(1, len(records) + 1))
    return [record for _, record in records]


def question(number: int, answer: str) -> dict[str, Any]:
    return {"QUESTION": f"{number}?", "CONTEXTS": ["One.", "Two."], "final_decision": answer, "YEAR": None}


def test_the_two_files_of_pubmedqa_are_two_splits(tmp_path: Path) -> None:
    questions = {str(number): question(number, "yes" if number % 3 else "no") for number in range(10)}
    test = {"7": "yes", "3": "no", "8": "yes"}
    (tmp_path / "test_ground_truth.json").write_text(json.dumps(test))
    (tmp_path / "ori_pqal.json.gz").write_bytes(gzip.compress(json.dumps(questions).encode()))
    assert [record["question"] for record in read(tmp_path / "ori_pqal.json.gz")] == [
        f"{n}?" for n in (0, 1, 2, 4, 5, 6, 9)
    ]
    assert read(tmp_path / "test_ground_truth.json") == [
        {"question": f"{pmid}?", "context": "One. Two.", "answer": answer} for pmid, answer in test.items()
    ]
    (tmp_path / "test_set.json").write_text(json.dumps(questions))  # as the authors' script divides them
    assert len(read(tmp_path / "test_set.json")) == 10


def test_yes_no_questions_of_bioasq(tmp_path: Path) -> None:
    questions = [
        {
            "id": "a",
            "type": "yesno",
            "body": "Is it?",
            "exact_answer": "Yes",
            "snippets": [{"text": "A."}, {"text": "B."}],
        },
        {"id": "b", "type": "list", "body": "Which?", "exact_answer": [["x"]], "snippets": []},
        {"id": "c", "type": "yesno", "body": "Really?", "exact_answer": "no"},
    ]
    (tmp_path / "7b.json").write_text(json.dumps({"questions": questions}))
    assert read(tmp_path / "7b.json") == [
        {"question": "Is it?", "context": "A. B.", "answer": "yes"},
        {"question": "Really?", "context": "", "answer": "no"},
    ]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"ori_pqal.json": {}}, "test_ground_truth.json: no such file; it says which questions of ori_pqal.json"),
        ({"test_ground_truth.json": {"1": "yes"}}, "ori_pqal.json: no such file"),
        ({"test_ground_truth.json": {"1": "yes", "2": "no"}, "ori_pqal.json": {"1": question(1, "yes")}}, "1 of the 2"),
        ({"a.json": {"1": {"QUESTION": SECRET}}}, "a.json: 1.CONTEXTS: Field required; expected PubMedQA's"),
        ({"a.json": [SECRET]}, "a.json: not a JSON object; expected PubMedQA's"),
        ({"a.json": {"questions": [{"body": SECRET}]}}, "a.json: 0.type: Field required"),
    ],
)
def test_another_structure_is_reported_without_its_text(tmp_path: Path, files: dict[str, Any], message: str) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    with pytest.raises(UserError) as error:
        read(tmp_path / next(iter(files)))
    assert message in str(error.value)
    assert SECRET not in str(error.value)


def test_pubmedqa_as_published(dev_data: Path) -> None:
    directory = dev_data / "eval" / "pubmedqa"
    if not directory.is_dir():
        pytest.skip(f"no PubMedQA in {dev_data / 'eval'}")
    names = {"train": "ori_pqal.json.gz", "test": "test_ground_truth.json", "text": "question"}
    task = ClassificationTask(kind="classification", pair="context", label="answer", **names)
    train, test, _ = read_classification(task, directory)
    assert (len(train), len(test)) == (500, 500)
    assert {example.label for example in test} == {"yes", "no", "maybe"}
    assert sum(example.label == "yes" for example in test) == 276  # 55.2 %, the majority in Jin et al. 2019
    assert not {example.text for example in train} & {example.text for example in test}
