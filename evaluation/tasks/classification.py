"""Classification of texts: sentences, pairs of texts, and documents up to the model's maximum length."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from ...configs.errors import UserError
from ..fine_tuning.head_config import HeadConfig
from ..fine_tuning.kind import FineTunedKind, Record, Splits
from ..formats.labels import check_classes
from ..formats.records import read_rct
from ..formats.values import position, read_class
from ..models.protocol import Protocol
from ..scores.units import Score, outcomes
from .long_texts import LongTexts
from .text_task import LabeledText, TextTask, columns, cut, encode_labeled, read_table, unlabeled

if TYPE_CHECKING:
    from ..fine_tuning.classifier import Example, Logits
    from ..models.tokens import Tokenizes


class ClassificationTask(TextTask):
    """Tables (.csv, .tsv, .jsonl, .parquet) with named columns, or PubMed-RCT's format (.txt)."""

    kind: Literal["classification"]
    label: str = Field("label", description="column of the class")


def read_classification(task: ClassificationTask, data: Path) -> Splits:
    """The texts.

    Raises:
        UserError: a file is missing or malformed, or a text that is not for training has a class that no training
            text has.
    """
    train, *others = (read_labeled_texts(data / name, task) for name in task.files())
    classes = {example.label for _, example in train}
    for examples in others:
        if unseen := [where for where, example in examples if example.label not in classes]:
            more = f" (and of {len(unseen) - 1:,} after it)" if len(unseen) > 1 else ""
            raise UserError(
                f"{unseen[0]}: no text of {data / task.train} has the class of this one{more}, so no model can predict "
                f"it; use the same {len(classes):,} classes in both files, or remove the others from the test"
            )
    return Splits(*([example for _, example in examples] for examples in (train, *others)))


def score_classes(labels: Sequence[str], predictions: Sequence[str]) -> dict[str, Score]:
    """A unit is a text."""
    units = outcomes(labels, predictions, sorted({*labels, *predictions}))
    return {
        "accuracy": Score("mean", [truth == predicted for truth, predicted in zip(labels, predictions, strict=True)]),
        "weighted_f1": Score("weighted_f1", units),
        "macro_f1": Score("macro_f1", units),
    }


def read_labeled_texts(path: Path, task: ClassificationTask) -> list[tuple[str, LabeledText]]:
    """The texts of a file, of at least two classes, each with its file and line."""
    examples = list(_each(path, task))
    check_classes([example.label for _, example in examples], path)
    return examples


def _each(path: Path, task: ClassificationTask) -> Iterator[tuple[str, LabeledText]]:
    if path.name.removesuffix(".gz").endswith(".txt"):
        for number, text, label in read_rct(path):
            yield position(path, number), LabeledText(text, label, id=str(number))
        return
    yield from read_table(path, task, task.label, read_class)


def labels_of(task: object, train: Sequence[LabeledText]) -> tuple[str, ...]:
    """The classes."""
    return tuple(sorted({example.label for example in train}))


def encode(
    model: "Tokenizes", task: LongTexts, texts: Sequence[LabeledText], labels: tuple[str, ...]
) -> "list[Example]":
    """Examples of texts or pairs."""
    import torch

    index = {name: number for number, name in enumerate(labels)}
    return encode_labeled(model, task, texts, [torch.tensor([index.get(text.label, -100)]) for text in texts])


def decode(task: object, text: LabeledText, example: "Example", logits: "Logits", labels: tuple[str, ...]) -> Record:
    """The most likely class, and the probability of each."""
    probabilities = softmax(logits[0])
    best = labels[int(probabilities.argmax())]
    scores = {label: round(float(value), 6) for label, value in zip(labels, probabilities, strict=True)}
    return {"label": text.label, "prediction": best, "scores": scores}


def softmax(logits: "Logits") -> "Logits":
    """Probabilities of classes, (C,)."""
    exponents = np.exp(logits - logits.max())
    probabilities: Logits = exponents / exponents.sum()
    return probabilities


def _head(task: ClassificationTask, labels: tuple[str, ...], protocol: Protocol) -> HeadConfig:
    return HeadConfig(rows="texts", labels=labels, pooling=task.pooling, dropout=protocol.dropout)


def _score(task: object, records: Sequence[Record]) -> dict[str, Score]:
    scores = score_classes([record["label"] for record in records], [record["prediction"] for record in records])
    return {**scores, "cut": cut(records)}


CLASSIFICATION = FineTunedKind(read_classification, labels_of, _head, encode, decode, _score, columns, unlabeled(""))
