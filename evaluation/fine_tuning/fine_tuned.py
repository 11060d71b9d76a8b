"""A fine-tuned model: a task's head on a copy of an encoder, and what it predicts."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..models.model import EvaluatedModel
from ..models.protocol import Protocol
from .choice import Choice, Trial
from .classifier import Example, predict, train_classifier
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
        choice: how the weights were chosen; None if that is not known.
    """

    classifier: ModelWithHead
    tokenizer: Any
    tokenizer_directory: Path
    max_length: int
    kind: FineTunedKind
    task: Any
    labels: tuple[str, ...]
    tuned: Tuned = field(default_factory=dict)
    choice: Choice | None = None

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
        return _records(self.classifier, self.kind, self.task, examples, encoded, self.labels, tokens)


def fine_tune_task(
    model: EvaluatedModel,
    kind: FineTunedKind,
    task: Any,
    splits: Splits,
    protocol: Protocol,
    seed: int,
    states: Path | None = None,
) -> FineTuned:
    """Train a head for the task, and a copy of the encoder with it; one for each learning rate, and keep the best.

    Every seed chooses its own rate, so seeds are independent: their spread is that of all of the procedure.

    Args:
        states: directory of the states from which an interrupted training continues.
    """
    labels = kind.labels(task, splits.train)
    examples = kind.encode(model, task, splits.train, labels)
    head = kind.head(task, labels, protocol)
    develops = protocol.needs_development()
    development = kind.encode(model, task, splits.development, labels) if develops else []

    def develop(classifier: ModelWithHead) -> float:
        records = _records(classifier, kind, task, splits.development, development, labels, protocol.tokens)
        if kind.decisions is not None:
            tuned = kind.decisions.tune(task, records)
            records = [kind.decisions.decide(task, record, tuned) for record in records]
        return float(next(iter(kind.score(task, records).values())))

    trials: list[Trial] = []
    best: ModelWithHead | None = None
    chosen: Trial | None = None
    for lr in protocol.rates():
        classifier, trial = train_classifier(
            model,
            examples,
            head,
            protocol.model_copy(update={"lr": lr}),
            seed,
            develop=develop if develops else None,
            state=None if states is None else states / f"{lr!r}.safetensors",
        )
        trials.append(trial)
        if chosen is None or trial.score() > chosen.score():
            best, chosen = classifier, trial
    assert best is not None
    assert chosen is not None
    choice = Choice(len(development), tuple(trials), chosen)
    fine_tuned = FineTuned(best, model.tokenizer, model.directory, model.max_length, kind, task, labels, choice=choice)
    return fine_tuned.with_thresholds(splits.development, protocol.tokens)


def _records(
    classifier: ModelWithHead,
    kind: FineTunedKind,
    task: Any,
    examples: Sequence[Any],
    encoded: Sequence[Example],
    labels: tuple[str, ...],
    tokens: int,
) -> list[Record]:
    logits = predict(classifier, encoded, tokens)
    return [
        {
            "id": example.id,
            **kind.decode(task, example, tokenized, rows, labels),
            "tokens": tokenized.tokens(),
            "cut": tokenized.cut,
        }
        for example, tokenized, rows in zip(examples, encoded, logits, strict=True)
    ]
