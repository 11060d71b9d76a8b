"""A number for each text or pair of texts, such as a severity or a similarity.

The head computes numbers in their unit: what it learns is scaled by mean and deviation of the training numbers.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from ...configs.errors import UserError
from ..fine_tuning.head_config import HeadConfig
from ..fine_tuning.kind import FineTunedKind, Record, Splits
from ..formats.values import read_number
from ..models.protocol import Protocol
from ..scores.optional_dependencies import require
from ..scores.units import Score, moments
from .text_task import LabeledText, TextTask, columns, cut, encode_labeled, read_table, unlabeled

if TYPE_CHECKING:
    from ..fine_tuning.classifier import Example, Logits
    from ..models.tokens import Tokenizes


class RegressionTask(TextTask):
    """Tables with a column of numbers."""

    kind: Literal["regression"]
    label: str = Field("label", description="column of the number")


def read_regression(task: RegressionTask, data: Path) -> Splits:
    """The texts.

    Raises:
        UserError: a file is missing or malformed, or all numbers of a file are equal.
    """
    splits = []
    for name in task.files():
        texts = [text for _, text in read_table(data / name, task, task.label, read_number)]
        if len({text.label for text in texts}) < 2:
            raise UserError(f"{data / name}: every {task.label} is the same; expected different numbers")
        splits.append(texts)
    return Splits(*splits)


def score_numbers(truth: Sequence[float], predictions: Sequence[float]) -> dict[str, Score]:
    """A unit is a text. Correlations are 0 if every prediction is the same."""
    rank = require("scipy.stats").rankdata
    errors = np.asarray(predictions, np.float64) - np.asarray(truth, np.float64)
    return {
        "pearson": Score("correlation", moments(predictions, truth)),
        "spearman": Score("correlation", moments(rank(predictions), rank(truth))),
        "mean_squared_error": Score("mean", errors**2),
        "mean_absolute_error": Score("mean", np.abs(errors)),
    }


def _labels(task: RegressionTask, train: Sequence[LabeledText]) -> tuple[str, ...]:
    return (task.label,)


def _head(task: RegressionTask, labels: tuple[str, ...], protocol: Protocol) -> HeadConfig:
    return HeadConfig(rows="texts", labels=labels, problem="number", pooling=task.pooling, dropout=protocol.dropout)


def _encode(
    model: "Tokenizes", task: RegressionTask, texts: Sequence[LabeledText], labels: tuple[str, ...]
) -> "list[Example]":
    import torch

    return encode_labeled(model, task, texts, [torch.tensor([[float(text.label)]]) for text in texts])


def _decode(
    task: RegressionTask, text: LabeledText, example: "Example", logits: "Logits", labels: tuple[str, ...]
) -> Record:
    return {"label": text.label, "prediction": float(f"{float(logits[0, 0]):.7g}")}


def _score(task: RegressionTask, records: Sequence[Record]) -> dict[str, Score]:
    truth, predictions = ([record[key] for record in records] for key in ("label", "prediction"))
    return {**score_numbers(truth, predictions), "cut": cut(records)}


REGRESSION = FineTunedKind(
    read_regression, _labels, _head, _encode, _decode, _score, columns, unlabeled(0.0), packages=("scipy",)
)
