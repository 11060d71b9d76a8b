"""The configuration of an evaluation: a task, the directory of its data, and the protocol.

Nothing here imports torch until `run`, so that files and libraries are checked before a model is opened.
"""

import hashlib
import json
from collections.abc import Callable
from functools import partial
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from ..configs.errors import UserError
from ..configs.preconditions import check_all
from ..storage.files import hash_file
from .models.protocol import Protocol
from .origin import Origin
from .scores.units import Score
from .tasks.classification import ClassificationTask, read_classification, run_classification
from .tasks.code_structure import CodesTask, read_systems, run_codes
from .tasks.masked_words import MaskedWordsTask, read_masked_words, run_masked_words
from .tasks.needles import NeedlesTask, read_needles, run_needles
from .tasks.ner import NerTask, check_ner, run_ner
from .tasks.relations import RelationTask, read_relations, run_relations
from .tasks.retrieval import RetrievalTask, read_retrieval, run_retrieval
from .tasks.similarity import SimilarityTask, read_similarity, run_similarity

if TYPE_CHECKING:
    from .models.model import EvaluatedModel

AnyTask = Annotated[
    NerTask
    | ClassificationTask
    | RelationTask
    | SimilarityTask
    | RetrievalTask
    | MaskedWordsTask
    | NeedlesTask
    | CodesTask,
    Field(discriminator="kind"),
]
Scores = dict[str, Score]


class _Kind(NamedTuple):
    """What each kind of task does: read its files, for which it raises UserError, and compute its scores."""

    read: Callable[[Any, Path], object]
    run: Callable[..., Scores]
    packages: tuple[str, ...] = ()


_KINDS: dict[type, _Kind] = {
    NerTask: _Kind(check_ner, run_ner, ("seqeval", "scikit-learn")),
    ClassificationTask: _Kind(read_classification, run_classification),
    RelationTask: _Kind(read_relations, run_relations),
    SimilarityTask: _Kind(read_similarity, run_similarity, ("scipy",)),
    RetrievalTask: _Kind(read_retrieval, run_retrieval),
    MaskedWordsTask: _Kind(read_masked_words, run_masked_words),
    NeedlesTask: _Kind(read_needles, run_needles),
    CodesTask: _Kind(read_systems, run_codes, ("scikit-learn", "matplotlib")),
}


class Evaluation(BaseModel):
    """The content of a task file (`cmbert evaluate --task FILE`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="used in tables and file names")
    data: Path = Field(description="directory of the task's files")
    task: AnyTask
    protocol: Protocol = Protocol()
    origin: Origin | None = None


def packages(evaluation: Evaluation) -> tuple[str, ...]:
    """The packages of the extra `evaluation` that compute its scores."""
    return _KINDS[type(evaluation.task)].packages


def check(evaluation: Evaluation) -> None:
    """Read and check all files of the task: columns, labels, tags, scores.

    Raises:
        UserError: files are missing, all of which are named, or one is malformed.
    """
    check_files(evaluation)
    _KINDS[type(evaluation.task)].read(evaluation.task, evaluation.data)


def check_files(evaluation: Evaluation) -> None:
    """Check that all files of the task exist.

    Raises:
        UserError: some do not.
    """
    check_all(partial(_check_file, evaluation, name) for name in dict.fromkeys(evaluation.task.files()))


def _check_file(evaluation: Evaluation, name: str) -> None:
    path = evaluation.data / name
    if not path.is_file():
        raise UserError(
            f"{path}: no such file; {evaluation.name} needs it: set its directory with --set data=DIRECTORY, or "
            "write your own task file"
        )


def run(model: "EvaluatedModel", evaluation: Evaluation, seed: int) -> Scores:
    """Compute the scores of one seed. The same model, evaluation and seed give the same scores.

    Raises:
        UserError: a score is not a finite number, because the model's output is not.
    """
    scores = _KINDS[type(evaluation.task)].run(model, evaluation.task, evaluation.data, evaluation.protocol, seed)
    if undefined := [name for name, value in scores.items() if not isfinite(value)]:
        raise UserError(
            f"{model.name}: {', '.join(undefined)} of {evaluation.name} is not a finite number: the model's outputs "
            "have NaN or infinity; was it exported from a run that diverged?"
        )
    return scores


def fine_tunes(evaluation: Evaluation) -> bool:
    """Whether the task fine-tunes the model. Other tasks do not depend on the seed and run once."""
    task = evaluation.task
    if isinstance(task, RetrievalTask):
        return task.train is not None
    return not isinstance(task, SimilarityTask | MaskedWordsTask | NeedlesTask | CodesTask)


def identity(evaluation: Evaluation) -> str:
    """A hash of the task, the protocol and the content of its files, independent of their directory.

    Raises:
        UserError: a file does not exist.
    """
    check_files(evaluation)
    parts: list[Any] = [evaluation.task.model_dump(mode="json"), evaluation.protocol.model_dump(exclude={"tokens"})]
    parts += [hash_file(evaluation.data / name, "sha256") for name in evaluation.task.files()]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
