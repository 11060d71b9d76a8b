"""A linear layer on an encoder, for words or for whole texts; both are rows of the packed hidden states."""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .fine_tune import Protocol, by_tokens, fine_tune, seeded
from .model import Subject, device

Pooling = Literal["mean", "cls"]


@dataclass(frozen=True)
class Example:
    """A sequence and its classes.

    Attributes:
        ids: int64 (n,), token ids with special tokens.
        labels: int64 (k,): one for a text, or one a word.
        places: int64 (k,), the token that stands for each word; None for a text.
    """

    ids: Tensor
    labels: Tensor
    places: Tensor | None = None


def pool(hidden: Tensor, lengths: Sequence[int], pooling: Pooling) -> Tensor:
    """One vector a sequence, (B, d), from hidden states laid end to end, (T, d)."""
    counts = torch.tensor(lengths, device=hidden.device)
    if pooling == "cls":
        return hidden[counts.cumsum(0) - counts]
    sequence = torch.repeat_interleave(torch.arange(len(lengths), device=hidden.device), counts)
    sums = hidden.new_zeros(len(lengths), hidden.shape[1]).index_add(0, sequence, hidden)
    return sums / counts[:, None]


class Classifier(nn.Module):
    """A copy of the subject's encoder, dropout and a new linear layer: examples to scores (K, classes)."""

    def __init__(self, subject: Subject, classes: int, pooling: Pooling, dropout: float) -> None:
        super().__init__()
        self.encode = subject.encode
        self.pooling = pooling
        self.encoder = deepcopy(subject.encoder)
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(subject.hidden_size, classes, device=device())

    def forward(self, examples: Sequence[Example]) -> Tensor:
        hidden = self.encode(self.encoder, [example.ids for example in examples])
        return self.linear(self.dropout(self._rows(hidden, examples)))

    def _rows(self, hidden: Tensor, examples: Sequence[Example]) -> Tensor:
        """Vectors of words where the examples name them, else of texts."""
        lengths = [len(example.ids) for example in examples]
        if examples[0].places is None:
            return pool(hidden, lengths, self.pooling)
        starts = torch.tensor([0, *lengths]).cumsum(0).tolist()
        places = [example.places + start for example, start in zip(examples, starts, strict=False)]
        return hidden[torch.cat(places).to(hidden.device)]


def train_classifier(
    subject: Subject,
    examples: Sequence[Example],
    classes: int,
    protocol: Protocol,
    seed: int,
    pooling: Pooling = "mean",
) -> Classifier:
    """The loss of a batch is the mean over its labels, whatever is computed at once."""
    with seeded(seed):
        classifier = Classifier(subject, classes, pooling, protocol.dropout)

        def losses(batch: Sequence[Example]) -> Iterator[Tensor]:
            count = sum(len(example.labels) for example in batch)
            for part in by_tokens(batch, _length, protocol.tokens):
                labels = torch.cat([example.labels for example in part]).to(device())
                yield F.cross_entropy(classifier(part), labels, reduction="sum") / max(1, count)

        fine_tune(classifier, examples, losses, protocol, seed)
    return classifier


@torch.no_grad()
def predict(classifier: Classifier, examples: Sequence[Example], tokens: int) -> list[list[int]]:
    """The likeliest class of each label of each example, whatever lies beside it in a batch."""
    order = sorted(range(len(examples)), key=lambda place: -_length(examples[place]))
    predicted: list[list[int]] = [[] for _ in examples]
    for group in by_tokens(order, lambda place: _length(examples[place]), tokens):
        part = [examples[place] for place in group]
        rows = classifier(part).argmax(-1).split([len(example.labels) for example in part])
        for place, row in zip(group, rows, strict=True):
            predicted[place] = row.tolist()
    return predicted


def _length(example: Example) -> int:
    return len(example.ids)
