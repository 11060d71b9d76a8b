"""What a kind of task is that trains a head: how it becomes labels, examples, predictions and scores.

The rest (training, choosing, keeping, predicting, comparing) is the same for all of them. Nothing here imports torch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..models.protocol import Protocol
from ..scores.units import Score
from .head_config import HeadConfig

if TYPE_CHECKING:
    from ..models.tokens import Tokenizes
    from .classifier import Example, Logits
    from .embedder import Embedder
    from .fine_tuned import FineTuned

Record = dict[str, Any]
"""What is kept of one test example, as JSON: its id, what is true, what was predicted, and never its text."""

Scores = dict[str, Score]

Tuned = dict[str, float]
"""What is chosen on the development split after training and kept with the model, such as thresholds by label."""
ALL = "*"
"""The key of the threshold of all labels that have none of their own."""
TRUTH = ("label", "labels", "spans", "answers")
"""The keys of a record that say what is true, not what is predicted."""


class Splits(NamedTuple):
    """The examples of a task. Those for development choose between models; they are never those of the test."""

    train: list[Any]
    test: list[Any]
    development: list[Any] = []  # noqa: RUF012 - a default that nobody changes


class Outcome(NamedTuple):
    """What one seed gives: scores; and of a task that trains a model also the predictions, the model and its data."""

    scores: Scores
    records: list[Record] = []  # noqa: RUF012 - a default that nobody changes
    fine_tuned: "FineTuned | Embedder | None" = None
    splits: Splits | None = None


class Decisions(NamedTuple):
    """Predictions that depend on thresholds.

    Attributes:
        tune: chooses thresholds from the records that `decode` gives for development examples.
        decide: adds the prediction to such a record; without thresholds (an empty `Tuned`), by the usual ones.
    """

    tune: Callable[[Any, Sequence[Record]], Tuned]
    decide: Callable[[Any, Record, Tuned], Record]


@dataclass(frozen=True)
class FineTunedKind:
    """A kind of task that trains a head.

    Attributes:
        read: all examples of a task; raises UserError for malformed files.
        labels: of the head's columns, from the training examples.
        head: the head for these labels.
        encode: examples as tokens; labels are ignored where an example has none.
        decode: the prediction for an example, as a record.
        score: of records with what is true; the first score chooses between models.
        columns: of a record to predict, by the names of the task; None: only its own files can be predicted.
        unlabeled: an example without truth, from an id and the values of these columns.
        packages: of the extra `evaluation`, which compute the scores.
        decisions: completes the records of `decode` where a prediction depends on a threshold.
        document: the name of the document of an example; examples of one document are never in two splits.
    """

    read: Callable[[Any, Path], Splits]
    labels: Callable[[Any, Sequence[Any]], tuple[str, ...]]
    head: Callable[[Any, tuple[str, ...], Protocol], HeadConfig]
    encode: Callable[["Tokenizes", Any, Sequence[Any], tuple[str, ...]], "list[Example]"]
    decode: Callable[[Any, Any, "Example", "Logits", tuple[str, ...]], Record]
    score: Callable[[Any, Sequence[Record]], Scores]
    columns: Callable[[Any], tuple[str, ...]] | None = None
    unlabeled: Callable[[str, Sequence[str]], Any] | None = None
    packages: tuple[str, ...] = ()
    decisions: Decisions | None = None
    document: Callable[[Any], str] = attrgetter("id")
