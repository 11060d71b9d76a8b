"""Semantic similarity: correlation of the cosine of two texts' vectors with human judgments, without fine-tuning."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from ...configs.errors import UserError
from ..formats.records import read_records
from ..models.classifier import Pooling
from ..models.embed import embed
from ..models.fine_tune import Protocol
from ..models.model import EvaluatedModel
from ..scores.optional_dependencies import require
from ..scores.ranking import normalize


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


def run_similarity(
    model: EvaluatedModel, task: SimilarityTask, data: Path, protocol: Protocol, seed: int
) -> dict[str, float]:
    first_texts, second_texts, similarities = [], [], []
    path = data / task.test
    for number, record in read_records(path, [task.first, task.second, task.score]):
        try:
            similarities.append(float(record[task.score]))
        except (TypeError, ValueError) as error:
            raise UserError(f"{path}: record {number}: {task.score} is not a number") from error
        first_texts.append(str(record[task.first]))
        second_texts.append(str(record[task.second]))
    if len(set(similarities)) < 2:
        raise UserError(f"{path}: every {task.score} is the same; a correlation needs different values")
    vectors = normalize(embed(model, first_texts + second_texts, task.pooling, protocol.tokens))
    cosines = (vectors[: len(first_texts)] * vectors[len(first_texts) :]).sum(axis=1)
    stats = require("scipy.stats")
    return {
        "pearson": float(stats.pearsonr(cosines, similarities).statistic),
        "spearman": float(stats.spearmanr(cosines, similarities).statistic),
    }
