"""A fine-tuned model: a task's head on a copy of an encoder, and what it predicts."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..models.model import EvaluatedModel
from ..models.protocol import Protocol
from .classifier import predict, train_classifier
from .heads import ModelWithHead
from .kind import FineTunedKind, Record, Splits, Tuned


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
        tuned: thresholds chosen on the development split; empty for the usual ones.
    """

    classifier: ModelWithHead
    tokenizer: Any
    tokenizer_directory: Path
    max_length: int
    kind: FineTunedKind
    task: Any
    labels: tuple[str, ...]
    tuned: Tuned = field(default_factory=dict)

    def predict(self, examples: Sequence[Any], tokens: int) -> list[Record]:
        """A record for each example, in order. `tokens` are computed at a time."""
        records = self._undecided(examples, tokens)
        if self.kind.decisions is None:
            return records
        return [self.kind.decisions.decide(self.task, record, self.tuned) for record in records]

    def with_thresholds(self, development: Sequence[Any], tokens: int) -> "FineTuned":
        """The model with thresholds chosen on these examples; the model as it is if there are none to choose."""
        if self.kind.decisions is None or not development:
            return self
        return replace(self, tuned=self.kind.decisions.tune(self.task, self._undecided(development, tokens)))

    def _undecided(self, examples: Sequence[Any], tokens: int) -> list[Record]:
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
    fine_tuned = FineTuned(classifier, model.tokenizer, model.directory, model.max_length, kind, task, labels)
    return fine_tuned.with_thresholds(splits.development, protocol.tokens)
