"""One evaluation as a file describes it: a task, where its data lies, and the protocol."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from ..configs.errors import UserError
from .models.fine_tune import Protocol
from .models.model import Subject
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
    """What `cmbert evaluate --task FILE` reads."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="in tables and file names")
    data: Path = Field(description="directory that the task's files lie in")
    task: AnyTask
    protocol: Protocol = Protocol()


def run(subject: Subject, evaluation: Evaluation, seed: int) -> Scores:
    """The scores of one seed: the same subject, evaluation and seed give the same."""
    return _RUNNERS[type(evaluation.task)](subject, evaluation.task, evaluation.data, evaluation.protocol, seed)


def learns(evaluation: Evaluation) -> bool:
    """Whether a seed changes anything: tasks without fine-tuning are run once."""
    task = evaluation.task
    if isinstance(task, RetrievalTask):
        return task.train is not None
    return not isinstance(task, SimilarityTask | MaskedWordsTask | CodesTask)


def identity(evaluation: Evaluation) -> str:
    """A hash of the task, the protocol and the content of the files, wherever they lie."""
    parts: list[Any] = [evaluation.task.model_dump(mode="json"), evaluation.protocol.model_dump(exclude={"tokens"})]
    for name in evaluation.task.files():
        path = evaluation.data / name
        if not path.is_file():
            raise UserError(
                f"{path}: no such file; {evaluation.name} needs it: name its directory with --set data=DIRECTORY, or "
                "write a task file of your own"
            )
        parts.append(hashlib.sha256(path.read_bytes()).hexdigest())
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
