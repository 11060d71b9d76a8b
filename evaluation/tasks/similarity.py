"""Semantic similarity: correlation of the cosine of two texts' vectors with human judgments, without fine-tuning."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict

from ...configs.errors import UserError
from ..formats.records import read_records
from ..formats.values import position, read_number, read_text
from ..models.protocol import Pooling, Protocol
from ..scores.optional_dependencies import require
from ..scores.ranking import normalize
from ..scores.units import Score, moments

if TYPE_CHECKING:
    from ..models.model import EvaluatedModel


class SimilarityTask(BaseModel):
    """A table with two texts and a similarity, relative to the evaluation's `data`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["similarity"]
    test: str
    first: str = "text1"
    second: str = "text2"
    score: str = "score"
    pooling: Pooling = "mean"

    def files(self) -> list[str]:
        return [self.test]


class Pairs(NamedTuple):
    """Pairs of texts and their similarities."""

    first: list[str]
    second: list[str]
    similarities: list[float]


def run_similarity(
    model: "EvaluatedModel", task: SimilarityTask, data: Path, protocol: Protocol, seed: int
) -> dict[str, Score]:
    """Both correlations; 0 if the model gives every pair the same cosine, for which none is defined.

    `cut` is the share of pairs with a truncated text.
    """
    from ..models.embed import embed
    from ..models.tokens import are_cut

    pairs = read_similarity(task, data)
    vectors = normalize(embed(model, pairs.first + pairs.second, task.pooling, protocol.tokens))
    cosines = (vectors[: len(pairs.first)] * vectors[len(pairs.first) :]).sum(axis=1)
    rank = require("scipy.stats").rankdata
    return {
        "pearson": Score("correlation", moments(cosines, pairs.similarities)),
        "spearman": Score("correlation", moments(rank(cosines), rank(pairs.similarities))),
        "cut": Score("mean", np.logical_or(are_cut(model, pairs.first), are_cut(model, pairs.second))),
    }


def read_similarity(task: SimilarityTask, data: Path) -> Pairs:
    """The pairs of the test.

    Raises:
        UserError: the file is missing or malformed, or all similarities are equal.
    """
    pairs = Pairs([], [], [])
    path = data / task.test
    for number, record in read_records(path, [task.first, task.second, task.score]):
        where = position(path, number)
        pairs.first.append(read_text(record, task.first, where))
        pairs.second.append(read_text(record, task.second, where))
        pairs.similarities.append(read_number(record, task.score, where))
    if len(set(pairs.similarities)) < 2:
        raise UserError(f"{path}: every {task.score} is the same; a correlation needs different values")
    return pairs
