"""How a learning rate and the weights of an epoch are chosen: by examples for development, never by the test."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ...configs.errors import UserError
from ..models.protocol import Protocol
from .kind import FineTunedKind, Splits


@dataclass(frozen=True)
class Trial:
    """One training.

    Attributes:
        development: the score after each epoch; empty if nothing is chosen by it.
        epoch: whose weights were kept, counted from 1.
    """

    lr: float
    development: tuple[float, ...]
    epoch: int

    def score(self) -> float:
        """The development score of the weights that were kept."""
        return self.development[self.epoch - 1] if self.development else 0.0


@dataclass(frozen=True)
class Choice:
    """All trainings of a seed, and the one whose weights were kept.

    Attributes:
        examples: for development.
    """

    examples: int
    trials: tuple[Trial, ...]
    chosen: Trial

    def sentence(self, score: str) -> str:
        """How the weights were chosen, for people. `score` is the name of the development score."""
        epochs = len(self.chosen.development)
        if not epochs:
            return "The weights are those after the last step."
        rates = ", ".join(f"{trial.lr:g}" for trial in self.trials)
        rate = f", at the learning rate {self.chosen.lr:g} of {rates}" if len(self.trials) > 1 else ""
        last = ", the last one" if self.chosen.epoch == epochs else ""
        return (
            f"The weights are those of epoch {self.chosen.epoch} of {epochs}{last}{rate}. {self.examples:,} examples "
            f"for development chose, by {score} ({self.chosen.score():.4f})."
        )


def best_epoch(scores: Sequence[float]) -> int:
    """The first epoch with the highest score, counted from 1; 0 of none."""
    return scores.index(max(scores)) + 1 if scores else 0


def is_over(scores: Sequence[float], patience: int | None) -> bool:
    """Whether the last `patience` epochs were no better than one before them."""
    return patience is not None and len(scores) - best_epoch(scores) >= patience


def with_development(kind: FineTunedKind, task: Any, splits: Splits, protocol: Protocol) -> Splits:
    """The splits; development from the training documents if the task has none and the protocol gives a share.

    Which documents these are depends on their names only: they are the same for all models and seeds.

    Raises:
        UserError: something is chosen by a development score and there is nothing to compute it from, or a setting
            does not suit the task.
    """
    if protocol.class_weights == "balanced":
        head = kind.head(task, kind.labels(task, splits.train), protocol)
        if head.rows == "spans" or head.problem == "number":
            raise UserError("protocol.class_weights: this task has no classes to balance; set it to none")
    if not splits.development and protocol.development_share > 0:
        splits = _divide(kind, splits, protocol.development_share)
    if protocol.needs_development() and not splits.development:
        raise UserError(
            f"protocol: {', '.join(_reasons(protocol))} chooses by a development split, and the task has none: set "
            "task.development to its file, or protocol.development_share=0.1 to use a tenth of the training documents"
        )
    return splits


def without_development(protocol: Protocol) -> None:
    """Raise UserError if something is chosen by a development score: for kinds of tasks that compute none."""
    if protocol.needs_development():
        raise UserError(
            f"protocol: {', '.join(_reasons(protocol))} chooses by a development split, which this kind of task has "
            "not; set one learning rate, choose: last and no patience"
        )


def _reasons(protocol: Protocol) -> Iterable[str]:
    if len(protocol.rates()) > 1:
        yield "a list of learning rates (lr)"
    if protocol.choose == "best":
        yield "choose: best"
    if protocol.patience is not None:
        yield "patience"


def _divide(kind: FineTunedKind, splits: Splits, share: float) -> Splits:
    names = sorted({kind.document(example) for example in splits.train}, key=_hash)
    chosen = set(names[: round(share * len(names))])
    parts: tuple[list[Any], list[Any]] = ([], [])
    for example in splits.train:
        parts[kind.document(example) in chosen].append(example)
    train, development = parts
    if not train or not development:
        raise UserError(
            f"protocol.development_share: {share:g} of {len(names):,} training documents leaves "
            f"{len(train):,} examples to train on and {len(development):,} for development; both need some"
        )
    return splits._replace(train=train, development=development)


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()
