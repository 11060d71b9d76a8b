"""The configuration of an evaluation: a task, the directory of its data, and the protocol."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from ..configs.errors import UserError
from ..storage.files import hash_file
from .models.fine_tune import Protocol
from .models.model import EvaluatedModel
from .tasks.classification import ClassificationTask, run_classification
from .tasks.code_structure import CodesTask, run_codes
from .tasks.masked_words import MaskedWordsTask, run_masked_words
from .tasks.ner import NerTask, run_ner
from .tasks.relations import RelationTask, run_relations
from .tasks.retrieval import RetrievalTask, run_retrieval
from .tasks.similarity import SimilarityTask, run_similarity

AnyTask = Annotated[
    NerTask | ClassificationTask | RelationTask | SimilarityTask | RetrievalTask | MaskedWordsTask | CodesTask,
    Field(discriminator="kind"),
]
Scores = dict[str, float]

_RUNNERS: dict[type, Callable[..., Scores]] = {
    NerTask: run_ner,
    ClassificationTask: run_classification,
    RelationTask: run_relations,
    SimilarityTask: run_similarity,
    RetrievalTask: run_retrieval,
    MaskedWordsTask: run_masked_words,
    CodesTask: run_codes,
}


class Evaluation(BaseModel):
    """The content of a task file (`cmbert evaluate --task FILE`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="used in tables and file names")
    data: Path = Field(description="directory of the task's files")
    task: AnyTask
    protocol: Protocol = Protocol()


def run(model: EvaluatedModel, evaluation: Evaluation, seed: int) -> Scores:
    """Compute the scores of one seed. The same model, evaluation and seed give the same scores."""
    return _RUNNERS[type(evaluation.task)](model, evaluation.task, evaluation.data, evaluation.protocol, seed)


def fine_tunes(evaluation: Evaluation) -> bool:
    """Whether the task fine-tunes the model. Other tasks do not depend on the seed and run once."""
    task = evaluation.task
    if isinstance(task, RetrievalTask):
        return task.train is not None
    return not isinstance(task, SimilarityTask | MaskedWordsTask | CodesTask)


def identity(evaluation: Evaluation) -> str:
    """A hash of the task, the protocol and the content of its files, independent of their directory.

    Raises:
        UserError: a file does not exist.
    """
    parts: list[Any] = [evaluation.task.model_dump(mode="json"), evaluation.protocol.model_dump(exclude={"tokens"})]
    for name in evaluation.task.files():
        path = evaluation.data / name
        if not path.is_file():
            raise UserError(
                f"{path}: no such file; {evaluation.name} needs it: set its directory with --set data=DIRECTORY, or "
                "write your own task file"
            )
        parts.append(hash_file(path, "sha256"))
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
