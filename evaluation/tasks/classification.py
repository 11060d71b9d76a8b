"""Classes of whole texts: sentences, pairs of texts, and documents as long as the subject reads."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveInt

from ...configs.errors import UserError
from ..formats.records import read_rct, read_records
from ..models.classifier import Example, Pooling, predict, train_classifier
from ..models.fine_tune import Protocol
from ..models.model import Subject
from ..models.tokens import encode_texts
from ..scores.libraries import require


class ClassificationTask(BaseModel):
    """Tables (.csv, .tsv, .jsonl, .parquet) with the columns named, or PubMed-RCT's layout (.txt)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["classification"]
    train: str
    test: str
    text: str = Field("text", description="column of the text")
    pair: str | None = Field(None, description="column of a second text, for inference and questions")
    label: str = Field("label", description="column of the class")
    max_length: PositiveInt | None = Field(None, description="tokens; none: as long as the subject reads")
    pooling: Pooling = "mean"

    def files(self) -> list[str]:
        return [self.train, self.test]


class Labelled(NamedTuple):
    """One text, its class, and the second text if the task has one."""

    text: str
    label: str
    pair: str | None = None


def run_classification(
    subject: Subject, task: ClassificationTask, data: Path, protocol: Protocol, seed: int
) -> dict[str, float]:
    """Fine-tune and score; `cut` is the share of test texts of which only the beginning was read."""
    train, test = read_labelled(data / task.train, task), read_labelled(data / task.test, task)
    truth, guesses, cut = classify(subject, train, test, task.max_length, task.pooling, protocol, seed)
    return {**score_classes(truth, guesses), "cut": cut}


def classify(
    subject: Subject,
    train: Sequence[Labelled],
    test: Sequence[Labelled],
    max_length: int | None,
    pooling: Pooling,
    protocol: Protocol,
    seed: int,
) -> tuple[list[str], list[str], float]:
    """Fine-tune on one list, predict the other: true classes, predicted ones, share of test texts that were cut."""
    classes = sorted({example.label for example in train})
    examples = _examples(subject, train, classes, max_length)
    classifier = train_classifier(subject, examples, len(classes), protocol, seed, pooling)
    examples = _examples(subject, test, classes, max_length)
    guesses = [classes[labels[0]] for labels in predict(classifier, examples, protocol.tokens)]
    limit = min(max_length or subject.max_length, subject.max_length)
    cut = sum(len(example.ids) >= limit for example in examples) / len(examples)
    return [example.label for example in test], guesses, cut


def score_classes(truth: Sequence[str], guesses: Sequence[str]) -> dict[str, float]:
    metrics = require("sklearn.metrics")
    return {
        "accuracy": float(metrics.accuracy_score(truth, guesses)),
        "weighted_f1": float(metrics.f1_score(truth, guesses, average="weighted", zero_division=0)),
        "macro_f1": float(metrics.f1_score(truth, guesses, average="macro", zero_division=0)),
    }


def read_labelled(path: Path, task: ClassificationTask) -> list[Labelled]:
    if path.name.removesuffix(".gz").endswith(".txt"):
        examples = [Labelled(text, label) for text, label in read_rct(path)]
    else:
        examples = []
        for number, record in read_records(path, [task.text, task.label, *([task.pair] if task.pair else [])]):
            values = [record[name] for name in (task.text, task.label)]
            if any(value is None or not str(value).strip() for value in values):
                raise UserError(
                    f"{path}: record {number} has no {task.text} or no {task.label}; fill it or leave it out"
                )
            pair = str(record[task.pair]) if task.pair else None
            examples.append(Labelled(str(values[0]), str(values[1]).strip(), pair))
    if len({example.label for example in examples}) < 2:
        raise UserError(f"{path}: fewer than two classes; expected texts of at least two")
    return examples


def _examples(
    subject: Subject, labelled: Sequence[Labelled], classes: Sequence[str], max_length: int | None
) -> list[Example]:
    number = {name: index for index, name in enumerate(classes)}
    pairs = [example.pair or "" for example in labelled] if labelled[0].pair is not None else None
    encoded = encode_texts(subject, [example.text for example in labelled], max_length, pairs)
    return [
        Example(ids, torch.tensor([number.get(example.label, -100)]))
        for ids, example in zip(encoded, labelled, strict=True)
    ]
