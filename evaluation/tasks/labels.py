"""Classification of texts with any number of labels each, such as the codes of a discharge letter."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, PositiveInt

from ...configs.errors import UserError
from ..fine_tuning.head_config import HeadConfig
from ..fine_tuning.kind import ALL, Decisions, FineTunedKind, Record, Splits, Tuned
from ..formats.labels import warn_of_spelling
from ..formats.values import read_labels
from ..models.protocol import Protocol
from ..scores.rank_statistics import ranked
from ..scores.units import Score, Units, label_outcomes, micro
from .text_task import LabeledText, TextTask, columns, cut, encode_labeled, read_table, unlabeled

if TYPE_CHECKING:
    from ..fine_tuning.classifier import Example, Logits
    from ..models.tokens import Tokenizes

logger = logging.getLogger(__name__)

USUAL = 0.5


class LabelsTask(TextTask):
    """Tables with a column of labels: a list, or text with a separator. A text may have no label."""

    kind: Literal["labels"]
    labels: str = Field("labels", description="column of the labels")
    separator: str | None = Field(None, min_length=1, description="between labels in text, such as `;`; none: lists")
    thresholds: Literal["one", "each"] = Field(
        "one", description="chosen on the development split: one for all labels, or one for each"
    )
    at: tuple[PositiveInt, ...] = Field((5, 8), description="precision is computed among so many likeliest labels")


def read_labels_task(task: LabelsTask, data: Path) -> Splits:
    """The texts.

    Raises:
        UserError: a file is missing or malformed, or the training texts have fewer than two labels.
    """
    read = partial(_read_labels, separator=task.separator)
    splits = [
        [text for _, text in read_table(data / name, task, task.labels, read)] for name in task.files()
    ]  # fmt: skip
    return checked_splits(splits, [data / name for name in task.files()])


def checked_splits(splits: Sequence[list[LabeledText]], paths: Sequence[Path]) -> Splits:
    """The splits for training, test and development. Warns of labels that no model can predict.

    Raises:
        UserError: the training texts have fewer than two labels, or another split has no label.
    """
    train, *others = splits
    known = {label for text in train for label in text.label}
    if len(known) < 2:
        raise UserError(f"{paths[0]}: fewer than two labels; expected texts with labels of at least two")
    for texts, path in zip(others, paths[1:], strict=True):
        labels = [label for text in texts for label in text.label]
        if not labels:
            raise UserError(f"{path}: no text has a label, so nothing can be scored")
        if missed := sum(label not in known for label in labels):
            logger.warning(f"{path}: {missed:,} of {len(labels):,} labels count as missed: no training text has them")
    warn_of_spelling(Counter(known), paths[0])
    return Splits(*splits)


def _read_labels(record: Mapping[str, Any], column: str, where: str, separator: str | None) -> tuple[str, ...]:
    return read_labels(record, column, where, separator)


def labels_of(task: object, train: Sequence[LabeledText]) -> tuple[str, ...]:
    """All labels of the training texts."""
    return tuple(sorted({label for text in train for label in text.label}))


def _head(task: TextTask, labels: tuple[str, ...], protocol: Protocol) -> HeadConfig:
    return HeadConfig(
        rows="texts", labels=labels, problem="several classes", pooling=task.pooling, dropout=protocol.dropout
    )


def encode(
    model: "Tokenizes", task: TextTask, texts: Sequence[LabeledText], labels: tuple[str, ...]
) -> "list[Example]":
    """Examples of texts or pairs; labels that the head does not have are left out."""
    import torch

    index = {name: number for number, name in enumerate(labels)}
    targets = []
    for text in texts:
        target = torch.zeros(1, len(labels))
        target[0, [index[label] for label in text.label if label in index]] = 1.0
        targets.append(target)
    return encode_labeled(model, task, texts, targets)


def decode(task: object, text: LabeledText, example: "Example", logits: "Logits", labels: tuple[str, ...]) -> Record:
    """The probability of each label."""
    probabilities = 1 / (1 + np.exp(-logits[0].astype(np.float64)))
    scores = {label: round(float(value), 6) for label, value in zip(labels, probabilities, strict=True)}
    return {"labels": sorted(text.label), "scores": scores}


def decide(task: object, record: Record, tuned: Tuned) -> Record:
    """Adds the labels whose probability is not below their threshold."""
    usual = tuned.get(ALL, USUAL)
    chosen = [label for label, score in record["scores"].items() if score >= tuned.get(label, usual)]
    return {**record, "predictions": chosen}


def tune(task: LabelsTask, records: Sequence[Record]) -> Tuned:
    """The thresholds with the best micro F1, or of each label with the best F1 of its own."""
    labels = list(records[0]["scores"])
    truth, scores = _truth(records, labels), _scores(records, labels)
    tuned = {ALL: best_threshold(scores.reshape(-1), truth.reshape(-1))}
    if task.thresholds == "each":
        columns = [number for number in range(len(labels)) if truth[:, number].any()]
        tuned |= {labels[number]: best_threshold(scores[:, number], truth[:, number]) for number in columns}
    return tuned


def best_threshold(scores: npt.NDArray[np.float64], truth: npt.NDArray[np.bool_]) -> float:
    """The threshold with the highest F1: halfway between two scores; of equal ones, that nearest to 0.5."""
    values, owner = np.unique(scores, return_inverse=True)
    correct, predicted = (
        np.bincount(owner, weights, len(values))[::-1].cumsum()[::-1] for weights in (truth, np.ones(len(scores)))
    )
    f1 = 2 * correct / (predicted + truth.sum())
    thresholds = (values + np.concatenate([[0.0], values[:-1]])) / 2
    best = np.flatnonzero(np.isclose(f1, f1.max(), rtol=0, atol=1e-12))
    return float(min(thresholds[best], key=lambda value: abs(value - USUAL)))


def score_labels(records: Sequence[Record], at: Sequence[int]) -> dict[str, Score]:
    """A unit is a text. Macro-averages are over the labels that occur, and areas over those for which they exist."""
    known = list(records[0]["scores"])
    every = [*known, *sorted({label for record in records for label in record["labels"]} - set(known))]
    truth = _truth(records, every)
    units = label_outcomes(truth, _matrix([record["predictions"] for record in records], every))
    scores = {
        "micro_f1": Score("f1", micro(units)),
        "macro_f1": Score("macro_f1", units),
        "precision": Score("precision", micro(units)),
        "recall": Score("recall", micro(units)),
    }
    likeliest, true = _scores(records, known), truth[:, : len(known)]
    order = np.argsort(-likeliest, axis=1, kind="stable")
    for count in at:
        if count <= len(known):
            hits = np.take_along_axis(true, order[:, :count], axis=1)
            scores[f"precision@{count}"] = Score("mean", hits.mean(axis=1))
    return {**scores, **_areas(ranked(likeliest, true), true)}


def _areas(units: Units, truth: npt.NDArray[np.bool_]) -> dict[str, Score]:
    """The areas under curves that exist: some label is true of some texts and not of others."""
    positive, negative = truth.any(axis=0), ~truth.all(axis=0)
    areas: dict[str, Score] = {}
    if (positive & negative).any():
        areas |= {"macro_auroc": Score("macro_auroc", units), "micro_auroc": Score("micro_auroc", units)}
    if positive.any():
        areas["macro_average_precision"] = Score("macro_average_precision", units)
        areas["micro_average_precision"] = Score("micro_average_precision", units)
    return areas


def _matrix(labels_of_texts: Sequence[Sequence[str]], labels: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Which of the labels each text has, (U, C)."""
    index = {label: number for number, label in enumerate(labels)}
    matrix = np.zeros((len(labels_of_texts), len(labels)), bool)
    for row, those in enumerate(labels_of_texts):
        matrix[row, [index[label] for label in those if label in index]] = True
    return matrix


def _truth(records: Sequence[Record], labels: Sequence[str]) -> npt.NDArray[np.bool_]:
    return _matrix([record["labels"] for record in records], labels)


def _scores(records: Sequence[Record], labels: Sequence[str]) -> npt.NDArray[np.float64]:
    return np.array([[record["scores"][label] for label in labels] for record in records], np.float64)


def _score(task: LabelsTask, records: Sequence[Record]) -> dict[str, Score]:
    return {**score_labels(records, task.at), "cut": cut(records)}


LABELS = FineTunedKind(
    read_labels_task,
    labels_of,
    _head,
    encode,
    decode,
    _score,
    columns,
    unlabeled(()),
    decisions=Decisions(tune, decide),
)
