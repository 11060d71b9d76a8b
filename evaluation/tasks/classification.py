"""Classification of texts: sentences, pairs of texts, and documents up to the model's maximum length."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from ...configs.errors import UserError
from ..formats.records import read_rct, read_records
from ..formats.values import position, read_class, read_text
from ..models.protocol import Pooling, Protocol
from ..scores.units import Score, outcomes

if TYPE_CHECKING:
    from ..models.classifier import Example
    from ..models.model import EvaluatedModel


class ClassificationTask(BaseModel):
    """Tables (.csv, .tsv, .jsonl, .parquet) with named columns, or PubMed-RCT's format (.txt)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["classification"]
    train: str
    test: str
    text: str = Field("text", description="column of the text")
    pair: str | None = Field(None, description="column of a second text, for inference and question answering")
    label: str = Field("label", description="column of the class")
    max_length: PositiveInt | None = Field(None, description="in tokens; none: the model's maximum length")
    pooling: Pooling = "mean"

    def files(self) -> list[str]:
        return [self.train, self.test]


class LabeledText(NamedTuple):
    """A text, its class, and the second text if the task has pairs."""

    text: str
    label: str
    pair: str | None = None


def run_classification(
    model: "EvaluatedModel", task: ClassificationTask, data: Path, protocol: Protocol, seed: int
) -> dict[str, Score]:
    """Fine-tune and score; `cut` is the share of test texts that were truncated."""
    train, test = read_classification(task, data)
    labels, predictions, truncated = classify(model, train, test, task.max_length, task.pooling, protocol, seed)
    return {**score_classes(labels, predictions), "cut": Score("mean", truncated)}


def read_classification(task: ClassificationTask, data: Path) -> tuple[list[LabeledText], list[LabeledText]]:
    """The training and the test texts.

    Raises:
        UserError: a file is missing or malformed, or a test text has a class that no training text has.
    """
    train = read_labeled_texts(data / task.train, task)
    test = _labeled_texts(data / task.test, task)
    classes = {example.label for example in train}
    if unseen := [where for where, example in test if example.label not in classes]:
        others = f" (and of {len(unseen) - 1:,} after it)" if len(unseen) > 1 else ""
        raise UserError(
            f"{unseen[0]}: no text of {data / task.train} has the class of this one{others}, so no model can predict "
            f"it; use the same {len(classes):,} classes in both files, or remove the others from the test"
        )
    return train, [example for _, example in test]


def classify(
    model: "EvaluatedModel",
    train: Sequence[LabeledText],
    test: Sequence[LabeledText],
    max_length: int | None,
    pooling: Pooling,
    protocol: Protocol,
    seed: int,
) -> tuple[list[str], list[str], list[bool]]:
    """Fine-tune on `train` and predict `test`: true classes, predicted classes, whether each text was truncated."""
    from ..models.classifier import predict, train_classifier

    classes = sorted({example.label for example in train})
    examples = _examples(model, train, classes, max_length)
    classifier = train_classifier(model, examples, len(classes), protocol, seed, pooling)
    examples = _examples(model, test, classes, max_length)
    predictions = [classes[labels[0]] for labels in predict(classifier, examples, protocol.tokens)]
    limit = min(max_length or model.max_length, model.max_length)
    truncated = [len(example.ids) >= limit for example in examples]
    return [example.label for example in test], predictions, truncated


def score_classes(labels: Sequence[str], predictions: Sequence[str]) -> dict[str, Score]:
    """A unit is a text."""
    units = outcomes(labels, predictions, sorted({*labels, *predictions}))
    return {
        "accuracy": Score("mean", [truth == predicted for truth, predicted in zip(labels, predictions, strict=True)]),
        "weighted_f1": Score("weighted_f1", units),
        "macro_f1": Score("macro_f1", units),
    }


def read_labeled_texts(path: Path, task: ClassificationTask) -> list[LabeledText]:
    """The texts of a file, of at least two classes."""
    return [example for _, example in _labeled_texts(path, task)]


def _labeled_texts(path: Path, task: ClassificationTask) -> list[tuple[str, LabeledText]]:
    """The texts of a file, of at least two classes, each with its file and line."""
    examples = list(_each(path, task))
    if len({example.label for _, example in examples}) < 2:
        raise UserError(f"{path}: fewer than two classes; expected texts of at least two")
    return examples


def _each(path: Path, task: ClassificationTask) -> Iterator[tuple[str, LabeledText]]:
    if path.name.removesuffix(".gz").endswith(".txt"):
        for number, text, label in read_rct(path):
            yield position(path, number), LabeledText(text, label)
        return
    for number, record in read_records(path, [task.text, task.label, *([task.pair] if task.pair else [])]):
        where = position(path, number)
        pair = read_text(record, task.pair, where) if task.pair else None
        yield where, LabeledText(read_text(record, task.text, where), read_class(record, task.label, where), pair)


def _examples(
    model: "EvaluatedModel", labeled: Sequence[LabeledText], classes: Sequence[str], max_length: int | None
) -> "list[Example]":
    import torch

    from ..models.classifier import Example
    from ..models.tokens import encode_texts

    index = {name: number for number, name in enumerate(classes)}
    pairs = [example.pair or "" for example in labeled] if labeled[0].pair is not None else None
    encoded = encode_texts(model, [example.text for example in labeled], max_length, pairs)
    return [
        Example(ids, torch.tensor([index.get(example.label, -100)]))
        for ids, example in zip(encoded, labeled, strict=True)
    ]
