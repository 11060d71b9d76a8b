"""Classification of texts: sentences, pairs of texts, and documents up to the model's maximum length."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from ...configs.errors import UserError
from ..formats.records import read_rct, read_records
from ..models.classifier import Example, Pooling, predict, train_classifier
from ..models.fine_tune import Protocol
from ..models.model import EvaluatedModel
from ..models.tokens import encode_texts
from ..scores.optional_dependencies import require


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
    model: EvaluatedModel, task: ClassificationTask, data: Path, protocol: Protocol, seed: int
) -> dict[str, float]:
    """Fine-tune and score; `cut` is the share of test texts that were truncated."""
    train, test = read_labeled_texts(data / task.train, task), read_labeled_texts(data / task.test, task)
    labels, predictions, truncated = classify(model, train, test, task.max_length, task.pooling, protocol, seed)
    return {**score_classes(labels, predictions), "cut": truncated}


def classify(
    model: EvaluatedModel,
    train: Sequence[LabeledText],
    test: Sequence[LabeledText],
    max_length: int | None,
    pooling: Pooling,
    protocol: Protocol,
    seed: int,
) -> tuple[list[str], list[str], float]:
    """Fine-tune on `train` and predict `test`: true classes, predicted classes, share of truncated test texts."""
    classes = sorted({example.label for example in train})
    examples = _examples(model, train, classes, max_length)
    classifier = train_classifier(model, examples, len(classes), protocol, seed, pooling)
    examples = _examples(model, test, classes, max_length)
    predictions = [classes[labels[0]] for labels in predict(classifier, examples, protocol.tokens)]
    limit = min(max_length or model.max_length, model.max_length)
    truncated = sum(len(example.ids) >= limit for example in examples) / len(examples)
    return [example.label for example in test], predictions, truncated


def score_classes(labels: Sequence[str], predictions: Sequence[str]) -> dict[str, float]:
    metrics = require("sklearn.metrics")
    return {
        "accuracy": float(metrics.accuracy_score(labels, predictions)),
        "weighted_f1": float(metrics.f1_score(labels, predictions, average="weighted", zero_division=0)),
        "macro_f1": float(metrics.f1_score(labels, predictions, average="macro", zero_division=0)),
    }


def read_labeled_texts(path: Path, task: ClassificationTask) -> list[LabeledText]:
    if path.name.removesuffix(".gz").endswith(".txt"):
        examples = [LabeledText(text, label) for text, label in read_rct(path)]
    else:
        examples = []
        for number, record in read_records(path, [task.text, task.label, *([task.pair] if task.pair else [])]):
            values = [record[name] for name in (task.text, task.label)]
            if any(value is None or not str(value).strip() for value in values):
                raise UserError(
                    f"{path}: record {number} has no {task.text} or no {task.label}; fill it in or remove the record"
                )
            pair = str(record[task.pair]) if task.pair else None
            examples.append(LabeledText(str(values[0]), str(values[1]).strip(), pair))
    if len({example.label for example in examples}) < 2:
        raise UserError(f"{path}: fewer than two classes; expected texts of at least two")
    return examples


def _examples(
    model: EvaluatedModel, labeled: Sequence[LabeledText], classes: Sequence[str], max_length: int | None
) -> list[Example]:
    index = {name: number for number, name in enumerate(classes)}
    pairs = [example.pair or "" for example in labeled] if labeled[0].pair is not None else None
    encoded = encode_texts(model, [example.text for example in labeled], max_length, pairs)
    return [
        Example(ids, torch.tensor([index.get(example.label, -100)]))
        for ids, example in zip(encoded, labeled, strict=True)
    ]
