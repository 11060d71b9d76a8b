"""Classification of texts: file formats, pairs, truncated texts, scores computed by hand."""

import json
from pathlib import Path

import pytest

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.evaluation.models.model import EvaluatedModel
from clinical_modernbert.evaluation.models.protocol import Protocol
from clinical_modernbert.evaluation.models.tokens import encode_texts
from clinical_modernbert.evaluation.tasks.classification import (
    ClassificationTask,
    LabeledText,
    read_classification,
    read_labeled_texts,
    score_classes,
)

from ..conftest import run_task


def task(**fields: object) -> ClassificationTask:
    return ClassificationTask.model_validate({"kind": "classification", "train": "a.tsv", "test": "a.tsv", **fields})


def test_scores_computed_by_hand() -> None:
    scores = score_classes(["a", "a", "a", "b"], ["a", "a", "b", "b"])
    f1_a, f1_b = 2 * 1 * (2 / 3) / (1 + 2 / 3), 2 * (1 / 2) * 1 / (1 / 2 + 1)
    assert scores["accuracy"] == 0.75
    assert scores["weighted_f1"] == pytest.approx(0.75 * f1_a + 0.25 * f1_b)
    assert scores["macro_f1"] == pytest.approx((f1_a + f1_b) / 2)


def test_every_file_format_gives_the_same_texts(tmp_path: Path) -> None:
    rows = [LabeledText('he said "pain', "x"), LabeledText("fever, cough", "y")]
    (tmp_path / "a.tsv").write_text("text\tid\tlabel\n" + "".join(f"{r.text}\t7\t{r.label}\n" for r in rows))
    (tmp_path / "a.csv").write_text('label,text\nx,"he said ""pain"\ny,"fever, cough"\n')
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row._asdict()) + "\n" for row in rows))
    (tmp_path / "a.txt").write_text("###123\n" + "".join(f"{r.label}\t{r.text}\n" for r in rows) + "\n###124\n")
    for name in ("a.tsv", "a.csv", "a.jsonl", "a.txt"):
        assert [text._replace(id="") for _, text in read_labeled_texts(tmp_path / name, task())] == rows


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tsv", "texts\tlabel\nsecret\tx\n", r"a\.tsv: its header has no column text; it has 2 columns"),
        ("a.tsv", "text\tlabel\nsecret\n", r"a\.tsv: line 2 has 1 columns, its header 2"),
        ("a.tsv", "text\tlabel\nsecret\t\n", r"a\.tsv: line 2 has no label; fill it in"),
        (
            "a.jsonl",
            '{"text": "secret", "label": ["secret"]}',
            r"a\.jsonl: line 1: label is of the type list; expected one",
        ),
        ("a.jsonl", '{"text": ["secret"], "label": "x"}', r"a\.jsonl: line 1: text is of the type list; expected text"),
        ("a.jsonl", '{"text": "secret", "label": NaN}', r"a\.jsonl: line 1 has no label"),
        ("a.tsv", "text\tlabel\nsecret\tx\n", r"a\.tsv: fewer than two classes"),
        (
            "a.tsv",
            "text\tlabel\n" + "".join(f"x\t0.{n}5\n" for n in range(30)),
            r"30 classes are numbers with a fraction",
        ),
        (
            "a.jsonl",
            '{"text": "x", "label": true}\n{"text": "x", "label": 1}',
            r"some classes are True or False, others",
        ),
        ("a.csv", "label,word\nx,secret\n", r"a\.csv: no column text"),
        ("a.txt", "###1\nsecret and more\n", r"a\.txt: line 2: expected a role, a tab and a sentence"),
        ("b.tsv", "", r"a\.tsv: no such file; set `data`"),
    ],
)
def test_errors_in_files_do_not_show_their_text(name: str, content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match=message) as error:
        read_labeled_texts(tmp_path / ("a.tsv" if name == "b.tsv" else name), task())
    assert "secret" not in str(error.value)


def test_pairs_are_learned_and_truncated_texts_counted(ours: EvaluatedModel, tmp_path: Path, quick: Protocol) -> None:
    with (tmp_path / "a.tsv").open("w") as file:
        file.write("question\tcontext\tlabel\n")
        for number in range(60):
            context = "pain" if number % 2 else "aspirin"
            file.write(f"fever of the lung\t{context}{' heart' * (200 if number % 3 == 0 else 2)}\t{context}\n")
    longer = quick.model_copy(update={"epochs": 10})
    scores = run_task(ours, task(text="question", pair="context", long="cut"), tmp_path, longer).scores
    assert scores["accuracy"] > 0.9
    assert scores["cut"] == pytest.approx(1 / 3)
    divided = run_task(ours, task(text="question", pair="context"), tmp_path, longer)
    assert divided.scores["cut"] == 0
    assert max(record["tokens"] for record in divided.records) > 2 * ours.max_length


def test_a_pair_is_encoded_as_one_sequence(ours: EvaluatedModel) -> None:
    [pair] = encode_texts(ours, ["fever"], pairs=["cough"])
    parts = ours.tokenizer("fever")["input_ids"], ours.tokenizer("cough")["input_ids"]
    assert pair.tolist() == parts[0] + parts[1][1:]


@pytest.mark.parametrize(
    ("first", "second"), [("1", "1.0"), ("'1'", "1"), ("1.0", "1"), ("'1.0'", "1"), ("' a '", "'a'")]
)
def test_one_class_has_one_spelling(first: str, second: str, tmp_path: Path) -> None:
    """pandas writes 1 as 1.0 once a number of the column is missing, and JSON has numbers where CSV has text."""
    rows = [f'{{"text": "x", "label": {value}}}\n'.replace("'", '"') for value in (first, second, '"other"')]
    (tmp_path / "a.jsonl").write_text("".join(rows))
    labels = [example.label for _, example in read_labeled_texts(tmp_path / "a.jsonl", task())]
    assert labels[0] == labels[1] != labels[2]


def test_a_class_that_only_the_test_has_is_an_error_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "train.tsv").write_text("text\tlabel\na\tx\nb\ty\n")
    (tmp_path / "test.tsv").write_text("text\tlabel\na\tx\nb\tsecret\nb\tsecret\n")
    message = r"test\.tsv: line 3: no text of .*train\.tsv has the class of this one \(and of 1 after it\)"
    with pytest.raises(UserError, match=message) as error:
        read_classification(task(train="train.tsv", test="test.tsv"), tmp_path)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("missing", ["null", '""', "NaN"])
def test_a_missing_second_text_is_an_error(missing: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(f'{{"text": "x", "question": {missing}, "label": "a"}}\n')
    with pytest.raises(UserError, match=r"a\.jsonl: line 1 has no question"):
        read_labeled_texts(tmp_path / "a.jsonl", task(pair="question"))
