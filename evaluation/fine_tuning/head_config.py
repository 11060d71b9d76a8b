"""What a head computes, as plain values."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from ..models.protocol import Pooling

Problem = Literal["one class", "several classes", "number"]
_PROBLEMS = {
    "one class": "single_label_classification",
    "several classes": "multi_label_classification",
    "number": "regression",
}


class HeadConfig(BaseModel):
    """What the head computes: rows of logits, one column per label.

    Attributes:
        rows: one row per text (pooled), per selected token, or two columns, start and end, per token (spans).
        labels: names of the columns.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: Literal["texts", "tokens", "spans"]
    labels: tuple[str, ...]
    problem: Problem = "one class"
    pooling: Pooling = "mean"
    dropout: float = 0.1

    def entries(self) -> dict[str, Any]:
        """Its part of transformers' config.json."""
        return {
            "id2label": dict(enumerate(self.labels)),
            "label2id": {label: number for number, label in enumerate(self.labels)},
            "problem_type": _PROBLEMS[self.problem],
            "classifier_pooling": self.pooling,
            "classifier_dropout": self.dropout,
        }
