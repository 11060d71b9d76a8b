"""The classes of a file, checked together before a model is opened."""

from collections import Counter
from pathlib import Path

import pytest

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.evaluation.formats.annotations import AnnotatedText, Span
from clinical_modernbert.evaluation.formats.labels import check_classes, check_span_types, warn_of_spelling


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        (["secret"] * 3, "fewer than two classes"),
        ([f"0.{number}7" for number in range(30)], "30 classes are numbers with a fraction"),
        (["True", "1", "True"], "some classes are True or False, others 0 or 1"),
        ([f"secret {number}" for number in range(10)], "each of 10 records has a class of its own"),
    ],
)
def test_what_is_no_class_is_an_error_without_the_value(classes: list[str], message: str) -> None:
    with pytest.raises(UserError) as error:
        check_classes(classes, Path("a.csv"))
    assert str(error.value).startswith(f"a.csv: {message}")
    assert "secret" not in str(error.value)


def test_scales_codes_and_few_records_are_classes(messages: pytest.LogCaptureFixture) -> None:
    check_classes(["0", "0.5", "1", "0.5"], Path("a.csv"))
    check_classes(["250.00", "401.9", "250.00"], Path("a.csv"))
    check_classes(["a", "b", "c"], Path("a.csv"))
    assert messages.messages == []


def test_spellings_of_one_class_are_announced(messages: pytest.LogCaptureFixture) -> None:
    warn_of_spelling(Counter(["Yes ", "yes", "no", "NO", "maybe"]), Path("a.csv"))
    assert messages.messages == ["a.csv: 2 classes are written in more than one way (case or spaces)"]


def test_types_of_spans(messages: pytest.LogCaptureFixture) -> None:
    def text(*types: str) -> AnnotatedText:
        return AnnotatedText("1", "secret", [Span(0, 6, kind) for kind in types])

    names = (Path("train"), Path("test"))
    check_span_types([text("Drug")], [text("Drug")], names)
    assert messages.messages == []
    check_span_types([text("Drug")], [text("Drug", "drug", "Dose")], names)
    assert messages.messages == [
        "test: 2 of 3 entities count as missed: their types (Dose, drug) are not in train",
        "train: 1 classes are written in more than one way (case or spaces)",
    ]
    with pytest.raises(UserError, match="train: no entity in 1 texts; expected annotated ones"):
        check_span_types([text()], [text("Drug")], names)
