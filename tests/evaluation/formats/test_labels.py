"""Labels, checked against each other before a model is opened."""

import json
from pathlib import Path
from typing import Any

import pytest

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.evaluation.formats.annotations import AnnotatedText, Span
from clinical_modernbert.evaluation.formats.labels import Label, check_labels, check_span_types, read_labels


def labels(tmp_path: Path, values: list[Any], several: bool = False) -> list[Label]:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"label": value}) + "\n" for value in values))
    return read_labels(path, "label", several)


def test_classes_are_spelled_as_they_mean(tmp_path: Path) -> None:
    assert [one.classes for one in labels(tmp_path, [1, 2.0, 1])] == [["1"], ["2"], ["1"]]
    assert [one.classes for one in labels(tmp_path, ["250.00", "250.0", "a"])] == [["250.00"], ["250"], ["a"]]
    several = [["250.00", "E11.9"], [], '["I10"]']
    assert [one.classes for one in labels(tmp_path, several, several=True)] == [["250.00", "E11.9"], [], ["I10"]]
    (tmp_path / "b.csv").write_text('text,codes\nx,"[""I10"", ""401.9""]"\ny,[]\n')
    assert read_labels(tmp_path / "b.csv", "codes", several=True)[0].classes == ["I10", "401.9"]


@pytest.mark.parametrize(
    ("values", "several", "message"),
    [
        ([["secret"], ["b"]], False, "line 1: label is of the type list; expected one class"),
        (["secret", "b"], True, "line 1: label is of the type str; expected a list of classes"),
        ([None, "b"], False, "line 1 has no label"),
        (["a", " "], False, "line 2 has no label"),
        ([None], True, "line 1: label is empty; expected a list of classes"),
        (["[secret"], True, "line 1: label is not JSON; expected a list such as"),
        ([["a", "a"]], True, "line 1: label has a class twice"),
        ([["a", None]], True, "line 1 has no label"),
        ([["a", ["secret"]]], True, "line 1: label is of the type list"),
        ([{"secret": 1}], False, "line 1: label is of the type dict"),
        ([0.731, 0.5, 0.25], False, "line 1: label has a measured number, which is no class"),
        ([1e-7, 1], False, "line 1: label has a measured number"),
        (["a", 1], False, "line 2: label is a number, and a text in"),
        ([True, "secret"], False, "line 2: label is a text, and true or false in"),
        ([["a"], [1]], True, "line 2: label is a number, and a text in"),
        (
            [f"secret {number}" for number in range(10)],
            False,
            "line 1: label has a class of its own for each of 10 records",
        ),
        ([], False, "has no records"),
    ],
)
def test_what_is_no_class_is_an_error_without_the_value(
    values: list[Any], several: bool, message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as error:
        labels(tmp_path, values, several)
    assert message in str(error.value)
    assert "secret" not in str(error.value)


def test_classes_of_the_test_are_those_of_the_training_data(tmp_path: Path, messages: pytest.LogCaptureFixture) -> None:
    names = (tmp_path / "train.jsonl", tmp_path / "test.jsonl")
    train = labels(tmp_path, ["yes", "no"])
    assert check_labels(train, train[:1], names, "label") == ["no", "yes"]
    with pytest.raises(UserError) as error:
        check_labels(
            train, [Label("test.jsonl: line 8", ["secret"]), Label("test.jsonl: line 9", ["x"])], names, "label"
        )
    message = f"test.jsonl: line 8: no record of {names[0]} has the class of this one (and 1 more records)"
    assert str(error.value).startswith(message)
    with pytest.raises(UserError, match=r"train\.jsonl: label has 1 class in all records"):
        check_labels(train[:1], train[:1], names, "label")
    assert messages.messages == []
    check_labels([*train, Label("x", ["Yes "])], train, names, "label")
    assert messages.messages == [f"{names[0]}: label: 1 classes are written in more than one way (case or spaces)"]


def test_types_of_spans(messages: pytest.LogCaptureFixture) -> None:
    def text(*types: str) -> AnnotatedText:
        return AnnotatedText("1", "secret", [Span(0, 6, kind) for kind in types], None, "b.ann")

    check_span_types([text("Drug")], [text("Drug")])
    assert messages.messages == []
    check_span_types([text("Drug")], [text("Drug", "drug", "Dose")])
    assert messages.messages == [
        "b.ann: 2 of 3 spans count as missed: their types (Dose, drug) are not in the training data",
        "types of spans: 1 classes are written in more than one way (case or spaces)",
    ]
    with pytest.raises(UserError, match=r"b\.ann: no span in 1 texts of the training data"):
        check_span_types([text()], [text("Drug")])
