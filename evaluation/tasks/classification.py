"""Classification of texts: sentences, pairs of texts, and documents up to the model's maximum length."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from pydantic import Field

from ...configs.errors import UserError
from ..fine_tuning.head_config import HeadConfig
from ..fine_tuning.kind import FineTunedKind, Record, Splits
from ..formats.records import read_rct, read_records
from ..formats.values import position, read_class, read_text
from ..models.protocol import Pooling, Protocol
from ..scores.units import Score, outcomes
from .long_texts import LongTexts

if TYPE_CHECKING:
    from ..fine_tuning.classifier import Example, Logits
    from ..models.tokens import Tokenizes


class ClassificationTask(LongTexts):
    """Tables (.csv, .tsv, .jsonl, .parquet) with named columns, or PubMed-RCT's format (.txt)."""

    kind: Literal["classification"]
    train: str
    test: str
    development: str | None = Field(None, description="chooses the best checkpoint; the test never does")
    text: str = Field("text", description="column of the text")
    pair: str | None = Field(None, description="column of a second text, for inference and question answering")
    label: str = Field("label", description="column of the class")
    pooling: Pooling = "mean"

    def files(self) -> list[str]:
        return [self.train, self.test, *([self.development] if self.development else [])]


class LabeledText(NamedTuple):
    """A text, its class, the second text if the task has pairs, and the number of its record or line."""

    text: str
    label: str
    pair: str | None = None
    id: str = ""


def read_classification(task: ClassificationTask, data: Path) -> Splits:
    """The texts.

    Raises:
        UserError: a file is missing or malformed, or a text that is not for training has a class that no training
            text has.
    """
    train, *others = (_labeled_texts(data / name, task) for name in task.files())
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
            yield position(path, number), LabeledText(text, label, id=str(number))
        return
    for number, record in read_records(path, [task.text, task.label, *([task.pair] if task.pair else [])]):
        where = position(path, number)
        pair = read_text(record, task.pair, where) if task.pair else None
        text, label = read_text(record, task.text, where), read_class(record, task.label, where)
        yield where, LabeledText(text, label, pair, str(number))


def labels_of(task: object, train: Sequence[LabeledText]) -> tuple[str, ...]:
    """The classes."""
    return tuple(sorted({example.label for example in train}))


def encode(
    model: "Tokenizes", task: LongTexts, texts: Sequence[LabeledText], labels: tuple[str, ...]
) -> "list[Example]":
    """Examples of texts or pairs."""
    import torch

    from ..fine_tuning.classifier import Example
    from ..models.tokens import Lengths, encode_long_texts

    index = {name: number for number, name in enumerate(labels)}
    pairs = [text.pair or "" for text in texts] if texts[0].pair is not None else None
    lengths = Lengths(task.max_length, task.shared_tokens())
    encoded = encode_long_texts(model, [text.text for text in texts], lengths, pairs)
    return [
        Example(tuple(one.windows), torch.tensor([index.get(text.label, -100)]), cut=one.cut)
        for text, one in zip(texts, encoded, strict=True)
    ]


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
    """`cut` is the share of texts that are longer than the model and not divided."""
    scores = score_classes([record["label"] for record in records], [record["prediction"] for record in records])
    return {**scores, "cut": Score("mean", [record["cut"] for record in records])}


def _columns(task: ClassificationTask) -> tuple[str, ...]:
    return (task.text, *([task.pair] if task.pair else []))


def unlabeled(name: str, values: Sequence[str]) -> LabeledText:
    """A text, or a text and its pair, without a class."""
    return LabeledText(values[0], "", values[1] if len(values) > 1 else None, name)


CLASSIFICATION = FineTunedKind(read_classification, labels_of, _head, encode, decode, _score, _columns, unlabeled)
