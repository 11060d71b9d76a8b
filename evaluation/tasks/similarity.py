"""Pairs of texts: does the cosine of their vectors rise with their similarity as people judged it? No fine-tuning."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from ...configs.errors import UserError
from ..formats.records import read_records
from ..models.classifier import Pooling
from ..models.embed import embed
from ..models.fine_tune import Protocol
from ..models.model import Subject
from ..scores.libraries import require
from ..scores.ranking import normalised


class SimilarityTask(BaseModel):
    """A table of two texts and a number, relative to the evaluation's `data`."""

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
    subject: Subject, task: SimilarityTask, data: Path, protocol: Protocol, seed: int
) -> dict[str, float]:
    firsts, seconds, judged = [], [], []
    path = data / task.test
    for number, record in read_records(path, [task.first, task.second, task.score]):
        try:
            judged.append(float(record[task.score]))
        except (TypeError, ValueError) as error:
            raise UserError(f"{path}: record {number}: {task.score} is not a number") from error
        firsts.append(str(record[task.first]))
        seconds.append(str(record[task.second]))
    if len(set(judged)) < 2:
        raise UserError(f"{path}: every {task.score} is the same; a correlation needs numbers that differ")
    vectors = normalised(embed(subject, firsts + seconds, task.pooling, protocol.tokens))
    cosines = (vectors[: len(firsts)] * vectors[len(firsts) :]).sum(axis=1)
    stats = require("scipy.stats")
    return {
        "pearson": float(stats.pearsonr(cosines, judged).statistic),
        "spearman": float(stats.spearmanr(cosines, judged).statistic),
    }
