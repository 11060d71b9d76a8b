"""A fine-tuned model: a task's head on a copy of an encoder, and what it predicts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..models.model import EvaluatedModel
from ..models.protocol import Protocol
from .classifier import predict, train_classifier
from .heads import ModelWithHead
from .kind import FineTunedKind, Record, Splits


@dataclass(frozen=True)
class FineTuned:
    """A model that predicts.

    Attributes:
        classifier: in evaluation mode.
        tokenizer: a fast tokenizer of transformers.
        tokenizer_directory: where its files are.
        max_length: tokens of the longest sequence, including special tokens.
        task: of the kind `kind`, as its task file describes it.
        labels: of the head's columns.
    """

    classifier: ModelWithHead
    tokenizer: Any
    tokenizer_directory: Path
    max_length: int
    kind: FineTunedKind
    task: Any
    labels: tuple[str, ...]

    def predict(self, examples: Sequence[Any], tokens: int) -> list[Record]:
        """A record for each example, in order. `tokens` are computed at a time."""
        encoded = self.kind.encode(self, self.task, examples, self.labels)
        logits = predict(self.classifier, encoded, tokens)
        return [
            {
                "id": example.id,
                **self.kind.decode(self.task, example, tokenized, rows, self.labels),
                "tokens": tokenized.tokens(),
                "cut": tokenized.cut,
            }
            for example, tokenized, rows in zip(examples, encoded, logits, strict=True)
        ]


def fine_tune_task(
    model: EvaluatedModel, kind: FineTunedKind, task: Any, splits: Splits, protocol: Protocol, seed: int
) -> FineTuned:
    """Train a head for the task, and a copy of the encoder with it."""
    labels = kind.labels(task, splits.train)
    examples = kind.encode(model, task, splits.train, labels)
    classifier = train_classifier(model, examples, kind.head(task, labels, protocol), protocol, seed)
    return FineTuned(classifier, model.tokenizer, model.directory, model.max_length, kind, task, labels)
