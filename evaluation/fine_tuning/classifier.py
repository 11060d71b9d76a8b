"""Training of a head with its encoder, and its logits for examples of any length."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from ...configs.progress import Progress
from ..models.model import EvaluatedModel, device
from ..models.pooling import group_by_tokens, mean_of_parts
from ..models.protocol import Protocol
from .head_config import HeadConfig
from .heads import ModelWithHead, add_head
from .loop import fine_tune, seeded

Logits = npt.NDArray[np.float32]
"""Of one example: (k, C) of its k words, (1, C) of a text, or start and end (n, 2) of its n tokens."""


@dataclass(frozen=True)
class Example:
    """A text in windows, and its labels.

    Attributes:
        windows: token ids with special tokens, int64 (n,) each; a text that fits has one.
        labels: of words int64 (k,), of a text int64 (1,), both with -100 for unknown; for several classes or a number
            float32 (1, C); of spans int64 (W, 2), the first and the last token in each of W windows.
        positions: int64 (k,), the token that represents each word, counted over all windows; None for a text, whose
            logits are the mean of those of its windows.
        words: int64 (k,), the words at these positions.
        cut: whether some of the text is in no window.
        characters: of spans int64 (n, 2), where the tokens of all windows are in the context; -1 for others.
    """

    windows: tuple[Tensor, ...]
    labels: Tensor
    positions: Tensor | None = None
    words: Tensor | None = None
    cut: bool = False
    characters: Tensor | None = None

    def tokens(self) -> int:
        return sum(len(window) for window in self.windows)


def train_classifier(
    model: EvaluatedModel, examples: Sequence[Example], head: HeadConfig, protocol: Protocol, seed: int
) -> ModelWithHead:
    """Fine-tune a copy of the model with a new head.

    The loss of a batch is the mean over its labels, also if it is computed in parts.
    """
    with seeded(seed):
        classifier = add_head(model, head)
        if head.problem == "number":
            numbers = torch.cat([example.labels for example in examples]).double()
            classifier.set_unit(float(numbers.mean()), float(numbers.std(correction=0)))

        def losses(batch: Sequence[Example]) -> Iterator[Tensor]:
            count = sum(len(example.labels) for example in batch)
            for part in group_by_tokens(batch, Example.tokens, protocol.tokens):
                labels = torch.cat([example.labels for example in part]).to(device())
                logits = logits_of(classifier, part)
                if head.rows == "spans":
                    yield _span_loss_sum(logits, part, labels) / max(1, count)
                else:
                    yield _loss_sum(classifier, logits, labels) / max(1, count)

        fine_tune(classifier, examples, losses, protocol, seed)
    classifier.keep_unit()
    return classifier


def logits_of(classifier: ModelWithHead, examples: Sequence[Example]) -> Tensor:
    """Logits in the order of the labels of the examples, (K, C); of spans those of all tokens."""
    windows = [window for example in examples for window in example.windows]
    if classifier.config.rows == "spans":
        spans: Tensor = classifier(windows)
        return spans
    if examples[0].positions is None:
        return mean_of_parts(classifier(windows), [len(example.windows) for example in examples])
    starts = np.cumsum([0, *(example.tokens() for example in examples)]).tolist()
    positions = [example.positions + start for example, start in zip(examples, starts, strict=False)]
    logits: Tensor = classifier(windows, torch.cat(positions))
    return logits


@torch.no_grad()
def predict(classifier: ModelWithHead, examples: Sequence[Example], tokens: int) -> list[Logits]:
    """The logits of each example; they do not depend on the batching."""
    order = sorted(range(len(examples)), key=lambda index: -examples[index].tokens())
    predicted: list[Logits] = [np.zeros((0, 0), np.float32)] * len(examples)
    with Progress("predicting", len(examples), "examples") as progress:
        for group in group_by_tokens(order, lambda index: examples[index].tokens(), tokens):
            part = [examples[index] for index in group]
            rows = logits_of(classifier, part).cpu().split([_rows(example) for example in part])
            for index, row in zip(group, rows, strict=True):
                predicted[index] = row.numpy()
            progress.advance(len(group))
    return predicted


def _rows(example: Example) -> int:
    if example.characters is not None:
        return example.tokens()
    return 1 if example.positions is None else len(example.positions)


def _span_loss_sum(logits: Tensor, examples: Sequence[Example], labels: Tensor) -> Tensor:
    """Of each window the mean of the losses of start and end."""
    sizes = [len(window) for example in examples for window in example.windows]
    parts = zip(logits.split(sizes), labels, strict=True)
    return torch.stack([F.cross_entropy(rows.T, target) for rows, target in parts]).sum()


def _loss_sum(classifier: ModelWithHead, logits: Tensor, labels: Tensor) -> Tensor:
    problem = classifier.config.problem
    if problem == "several classes":
        return F.binary_cross_entropy_with_logits(logits, labels, reduction="none").mean(1).sum()
    if problem == "number":
        return F.mse_loss(logits / classifier.deviation, labels / classifier.deviation, reduction="none").mean(1).sum()
    return F.cross_entropy(logits, labels, reduction="sum")
