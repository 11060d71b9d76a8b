"""Training of a head with its encoder, and its logits for examples of any length."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from ...configs.progress import Progress
from ..models.model import EvaluatedModel, device
from ..models.pooling import group_by_tokens, mean_of_parts
from ..models.protocol import Protocol
from .choice import Trial
from .head_config import HeadConfig
from .heads import ModelWithHead, add_head
from .loop import fine_tune, seeded
from .precision import in_precision, precision_of

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
    model: EvaluatedModel,
    examples: Sequence[Example],
    head: HeadConfig,
    protocol: Protocol,
    seed: int,
    *,
    develop: Callable[[ModelWithHead], float] | None = None,
    state: Path | None = None,
) -> tuple[ModelWithHead, Trial]:
    """Fine-tune a copy of the model with a new head.

    The loss of a batch is the mean over its labels, also if it is computed in parts.

    Args:
        develop, state: as in `fine_tune`.
    """
    with seeded(seed):
        classifier = add_head(model, head)
        if head.problem == "number":
            numbers = torch.cat([example.labels for example in examples]).double()
            classifier.set_unit(float(numbers.mean()), float(numbers.std(correction=0)))
        compute = in_precision(classifier, precision_of(protocol))
        weights = class_weights(head, examples, protocol)

        def losses(batch: Sequence[Example]) -> Iterator[Tensor]:
            count = sum(len(example.labels) for example in batch)
            for part in group_by_tokens(batch, Example.tokens, protocol.tokens, padded=classifier.padded):
                labels = torch.cat([example.labels for example in part]).to(device())
                logits = logits_of(compute, part, spans=head.rows == "spans")
                if head.rows == "spans":
                    yield _span_loss_sum(logits, part, labels) / max(1, count)
                else:
                    yield _loss_sum(classifier, logits, labels, weights) / max(1, count)

        trial = fine_tune(
            classifier,
            examples,
            losses,
            protocol,
            seed,
            develop=None if develop is None else partial(develop, classifier),
            state=state,
        )
    classifier.keep_unit()
    return classifier, trial


def logits_of(compute: Callable[..., Tensor], examples: Sequence[Example], *, spans: bool) -> Tensor:
    """Logits in the order of the labels of the examples, (K, C); of spans those of all tokens.

    Args:
        compute: a `ModelWithHead`, or what computes the same.
    """
    windows = [window for example in examples for window in example.windows]
    if spans:
        return compute(windows)
    if examples[0].positions is None:
        logits = compute(windows)
        counts = [len(example.windows) for example in examples]
        return logits if len(windows) == len(examples) else mean_of_parts(logits, counts)
    starts = np.cumsum([0, *(example.tokens() for example in examples)]).tolist()
    positions = [example.positions + start for example, start in zip(examples, starts, strict=False)]
    return compute(windows, torch.cat(positions))


@torch.no_grad()
def predict(classifier: ModelWithHead, examples: Sequence[Example], tokens: int) -> list[Logits]:
    """The logits of each example; they do not depend on the batching."""
    order = sorted(range(len(examples)), key=lambda index: -examples[index].tokens())
    predicted: list[Logits] = [np.zeros((0, 0), np.float32)] * len(examples)
    with Progress("predicting", len(examples), "examples") as progress:
        for group in group_by_tokens(order, lambda index: examples[index].tokens(), tokens, padded=classifier.padded):
            part = [examples[index] for index in group]
            rows = (
                logits_of(classifier, part, spans=classifier.config.rows == "spans")
                .cpu()
                .split([_rows(example) for example in part])
            )
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


def class_weights(head: HeadConfig, examples: Sequence[Example], protocol: Protocol) -> Tensor | None:
    """Balanced weights of the classes, (C,), which are 1 on average over the labels; of several classes those of the
    positive labels. None: all labels count the same."""
    if protocol.class_weights == "none":
        return None
    labels = torch.cat([example.labels for example in examples])
    if head.problem == "several classes":
        positive = labels.sum(0)
        weights = torch.where(positive > 0, (len(labels) - positive) / positive.clamp(min=1), 1.0)
    else:
        known = labels[labels >= 0]
        counts = torch.bincount(known, minlength=len(head.labels))
        weights = len(known) / (counts.clamp(min=1) * (counts > 0).sum())
    return weights.float().to(device())


def _loss_sum(classifier: ModelWithHead, logits: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
    problem = classifier.config.problem
    if problem == "several classes":
        return F.binary_cross_entropy_with_logits(logits, labels, reduction="none", pos_weight=weights).mean(1).sum()
    if problem == "number":
        return F.mse_loss(logits / classifier.deviation, labels / classifier.deviation, reduction="none").mean(1).sum()
    return F.cross_entropy(logits, labels, weights, reduction="sum")
