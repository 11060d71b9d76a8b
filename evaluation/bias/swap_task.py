"""How the predictions of a model that `cmbert finetune` kept change when the group that a text names is swapped.

The texts are the user's own. Each is predicted as every group of an attribute, and as every group in other words, the
control. Scores have numbers of texts and names of groups and classes, never text. A unit is a text that names a group.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from ...configs.errors import UserError
from ..formats.records import read_records
from ..formats.values import position, read_text
from ..models.protocol import Protocol
from ..scores.units import Score
from .findings import comparison_name, comparison_score
from .swap_words import SLOTS
from .swaps import Versions, versions

if TYPE_CHECKING:
    from ..fine_tuning.fine_tuned import FineTuned
    from ..fine_tuning.kind import Record

Attribute = Literal["sex", "age", "ethnicity", "insurance"]
_LEAST_TEXTS = 5
"""Of fewer texts, no comparison is computed."""


class SwapTask(BaseModel):
    """A table of texts, relative to the evaluation's `data`. They need no labels."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["bias_swap"]
    test: str
    text: str = Field("text", description="column of the text")
    attributes: tuple[Attribute, ...] = Field(("sex", "age", "ethnicity", "insurance"), min_length=1)

    def files(self) -> list[str]:
        return [self.test]


class Found(NamedTuple):
    """What of the texts can be swapped in an attribute.

    Attributes:
        versions: of the texts that are swapped.
        named: for each text whether it names a group.
        left_out: for each text whether it names one and is not swapped.
    """

    versions: list[Versions]
    named: list[bool]
    left_out: list[bool]


def read_swaps(task: SwapTask, data: Path) -> dict[str, Found]:
    """The texts of each attribute that can be swapped.

    Raises:
        UserError: the file is missing or malformed, or too few texts name a group.
    """
    path = data / task.test
    texts = [read_text(record, task.text, position(path, number)) for number, record in read_records(path, [task.text])]
    found: dict[str, Found] = {attribute: find_versions(texts, attribute) for attribute in task.attributes}
    if not any(len(one.versions) >= _LEAST_TEXTS for one in found.values()):
        most = max(len(one.versions) for one in found.values())
        raise UserError(
            f"{path}: of {len(texts):,} texts at most {most} name a group of {', '.join(task.attributes)} and can be "
            f"swapped; at least {_LEAST_TEXTS} are needed"
        )
    return found


def find_versions(texts: Sequence[str], attribute: str) -> Found:
    """The versions of all texts that have some."""
    results = [versions(text, attribute) for text in texts]
    return Found(
        [one for one in results if isinstance(one, Versions)],
        [one is not None for one in results],
        [isinstance(one, str) for one in results],
    )


def run_swaps(model: "FineTuned", task: SwapTask, data: Path, protocol: Protocol) -> dict[str, Score]:
    """For each attribute how many texts change their class, and every change of a class's probability.

    `flips gap`, the first, is `flips swap` - `flips control`: the share of texts with another class if the group is
    swapped, and if it is named in other words. `named` and `left out` are shares of all texts.

    Raises:
        UserError: the model is not one for a classification.
    """
    found = read_swaps(task, data)
    check_classifies(model)
    rates: dict[str, Score] = {}
    comparisons: dict[str, Score] = {}
    sums = np.zeros((max(len(one.named) for one in found.values()), 3))  # of each text: swaps, controls, attributes
    for attribute, (texts, named, left_out) in found.items():
        rates |= {f"{attribute} named": Score("mean", named), f"{attribute} left out": Score("mean", left_out)}
        if len(texts) < _LEAST_TEXTS:
            continue
        predicted = _predict(model, texts, list(SLOTS[attribute]), protocol.tokens)
        flips = _flips(texts, list(SLOTS[attribute]), predicted)
        swapped = np.array(named) & ~np.array(left_out)
        sums[swapped] += np.column_stack([flips, np.ones(len(flips))])
        rates |= {f"{attribute} flips": Score("mean", flips[:, 0]), f"{attribute} control": Score("mean", flips[:, 1])}
        comparisons |= _changes(attribute, model.labels, predicted)
    both = sums[sums[:, 2] > 0]
    both = both[:, :2] / both[:, 2:]
    gap = {
        "flips gap": Score("mean", both[:, 0] - both[:, 1]),
        "flips swap": Score("mean", both[:, 0]),
        "flips control": Score("mean", both[:, 1]),
    }
    return gap | rates | comparisons


def check_classifies(model: "FineTuned") -> None:
    """Raise UserError if a model does not give one class with probabilities."""
    if model.task.kind != "classification" or model.task.pair is not None:
        raise UserError(
            f"{model.tokenizer_directory}: a model for {model.task.kind}; swaps need one for the classification of "
            "single texts"
        )


def _predict(
    model: "FineTuned", texts: Sequence[Versions], groups: Sequence[str], tokens: int
) -> list[list[tuple["Record", "Record"]]]:
    """For each group and text, the predictions for its version and its control."""
    unlabeled = model.kind.unlabeled
    assert unlabeled is not None
    inputs = [text for group in groups for one in texts for text in one.texts[group]]
    different = {text: number for number, text in enumerate(dict.fromkeys(inputs))}
    records = model.predict([unlabeled(str(number), [text]) for text, number in different.items()], tokens)
    of = iter([records[different[text]] for text in inputs])
    return [[(next(of), next(of)) for _ in texts] for _ in groups]


def _flips(
    texts: Sequence[Versions], groups: Sequence[str], predicted: Sequence[Sequence[tuple["Record", "Record"]]]
) -> npt.NDArray[np.float64]:
    """For each text the share of other groups that change its class, and whether the control does, (U, 2)."""
    rows = []
    for number, one in enumerate(texts):
        own, control = predicted[groups.index(one.named)][number]
        others = [of[number][0] for group, of in zip(groups, predicted, strict=True) if group != one.named]
        changed = np.mean([other["prediction"] != own["prediction"] for other in others])
        rows.append([changed, control["prediction"] != own["prediction"]])
    return np.array(rows, np.float64)


def _changes(
    attribute: str, labels: Sequence[str], predicted: Sequence[Sequence[tuple["Record", "Record"]]]
) -> dict[str, Score]:
    """The change of each class's probability from the first group to each other; of two classes, of the second."""
    reference, *others = SLOTS[attribute]
    scores = {}
    for label in labels[1:] if len(labels) == 2 else labels:
        values = [np.array([[one["scores"][label] for one in pair] for pair in of], np.float64) for of in predicted]
        for group, of in zip(others, values[1:], strict=True):
            name = comparison_name(f"probability {label}", attribute, group, reference)
            scores[name] = comparison_score(of, values[0])
    return scores
