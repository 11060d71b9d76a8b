"""A linear classifier on an encoder, for words or for texts."""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...configs.progress import Progress
from .fine_tune import fine_tune, group_by_tokens, seeded
from .model import EvaluatedModel, device
from .protocol import Pooling, Protocol


@dataclass(frozen=True)
class Example:
    """A sequence and its labels.

    Attributes:
        ids: int64 (n,), token ids with special tokens.
        labels: int64 (k,), one per word, or a single one for a text.
        positions: int64 (k,), the token that represents each word; None for a text.
    """

    ids: Tensor
    labels: Tensor
    positions: Tensor | None = None


def pool(hidden: Tensor, lengths: Sequence[int], pooling: Pooling) -> Tensor:
    """Pool concatenated hidden states, (T, d), into one vector per sequence, (B, d)."""
    counts = torch.tensor(lengths, device=hidden.device)
    if pooling == "cls":
        return hidden[counts.cumsum(0) - counts]
    sequence = torch.repeat_interleave(torch.arange(len(lengths), device=hidden.device), counts)
    sums = hidden.new_zeros(len(lengths), hidden.shape[1]).index_add(0, sequence, hidden)
    return sums / counts[:, None]


class Classifier(nn.Module):
    """A copy of the model's encoder, dropout and a new linear layer. Maps examples to scores (K, classes)."""

    def __init__(self, model: EvaluatedModel, classes: int, pooling: Pooling, dropout: float) -> None:
        super().__init__()
        self.encode = model.encode
        self.pooling = pooling
        self.encoder = deepcopy(model.encoder)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(model.hidden_size, classes, device=device())

    def forward(self, examples: Sequence[Example]) -> Tensor:
        hidden = self.encode(self.encoder, [example.ids for example in examples])
        return self.linear(self.dropout(self._rows(hidden, examples)))

    def _rows(self, hidden: Tensor, examples: Sequence[Example]) -> Tensor:
        """Vectors of the words if the examples have positions, else of the texts: (K, d)."""
        lengths = [len(example.ids) for example in examples]
        if examples[0].positions is None:
            return pool(hidden, lengths, self.pooling)
        starts = torch.tensor([0, *lengths]).cumsum(0).tolist()
        positions = [example.positions + start for example, start in zip(examples, starts, strict=False)]
        return hidden[torch.cat(positions).to(hidden.device)]


def train_classifier(
    model: EvaluatedModel,
    examples: Sequence[Example],
    classes: int,
    protocol: Protocol,
    seed: int,
    pooling: Pooling = "mean",
) -> Classifier:
    """Fine-tune a classifier. The loss of a batch is the mean over its labels, also if it is computed in parts."""
    with seeded(seed):
        classifier = Classifier(model, classes, pooling, protocol.dropout)

        def losses(batch: Sequence[Example]) -> Iterator[Tensor]:
            count = sum(len(example.labels) for example in batch)
            for part in group_by_tokens(batch, _length, protocol.tokens):
                labels = torch.cat([example.labels for example in part]).to(device())
                yield F.cross_entropy(classifier(part), labels, reduction="sum") / max(1, count)

        fine_tune(classifier, examples, losses, protocol, seed)
    return classifier


@torch.no_grad()
def predict(classifier: Classifier, examples: Sequence[Example], tokens: int) -> list[list[int]]:
    """The most likely class for each label of each example; it does not depend on the batching."""
    order = sorted(range(len(examples)), key=lambda index: -_length(examples[index]))
    predicted: list[list[int]] = [[] for _ in examples]
    with Progress("predicting", len(examples), "examples") as progress:
        for group in group_by_tokens(order, lambda index: _length(examples[index]), tokens):
            part = [examples[index] for index in group]
            rows = classifier(part).argmax(-1).split([len(example.labels) for example in part])
            for index, row in zip(group, rows, strict=True):
                predicted[index] = row.tolist()
            progress.advance(len(group))
    return predicted


def _length(example: Example) -> int:
    return len(example.ids)
