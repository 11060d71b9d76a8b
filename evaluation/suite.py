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
from .bias.swap_task import SwapTask, read_swaps, run_swaps
from .bias.task import BiasTask, read_bias, run_bias
from .fine_tuning.choice import with_development, without_development
from .fine_tuning.kind import FineTunedKind, Outcome, Scores
from .models.protocol import Protocol
from .origin import Origin
from .tasks.classification import CLASSIFICATION, ClassificationTask
from .tasks.code_structure import CodesTask, read_systems, run_codes
from .tasks.icd_chapters import ICD_CHAPTERS, IcdChaptersTask
from .tasks.labels import LABELS, LabelsTask
from .tasks.masked_words import MaskedWordsTask, read_masked_words, run_masked_words
from .tasks.needles import NeedlesTask, read_needles, run_needles
from .tasks.ner import NER, NerTask
from .tasks.questions import QUESTIONS, QuestionsTask
from .tasks.regression import REGRESSION, RegressionTask
from .tasks.relations import RELATIONS, RelationTask
from .tasks.search.reranking import RERANKING, RerankingTask
from .tasks.search.retrieval import RetrievalTask, read_retrieval, run_retrieval
from .tasks.similarity import SimilarityTask, read_similarity, run_similarity

if TYPE_CHECKING:
    from .models.model import EvaluatedModel

AnyTask = Annotated[
    NerTask
    | ClassificationTask
    | LabelsTask
    | IcdChaptersTask
    | RegressionTask
    | QuestionsTask
    | RelationTask
    | SimilarityTask
    | RetrievalTask
    | RerankingTask
    | MaskedWordsTask
    | NeedlesTask
    | CodesTask
    | BiasTask
    | SwapTask,
    Field(discriminator="kind"),
]


class ScoredKind(NamedTuple):
    """A kind of task that trains no head: it reads its files, for which it raises UserError, and computes scores.

    A kind that trains an encoder for vectors gives an Outcome.
    """

    read: Callable[[Any, Path], object]
    run: Callable[..., Scores | Outcome]
    packages: tuple[str, ...] = ()


def _run_swaps(model: "EvaluatedModel", task: SwapTask, data: Path, protocol: Protocol, seed: int) -> Scores:
    """The scores of a model that `cmbert finetune` kept."""
    from .saved_model import open_fine_tuned

    return run_swaps(open_fine_tuned(model.directory), task, data, protocol)


_KINDS: dict[type, FineTunedKind | ScoredKind] = {
    NerTask: NER,
    ClassificationTask: CLASSIFICATION,
    LabelsTask: LABELS,
    IcdChaptersTask: ICD_CHAPTERS,
    RegressionTask: REGRESSION,
    QuestionsTask: QUESTIONS,
    RelationTask: RELATIONS,
    SimilarityTask: ScoredKind(read_similarity, run_similarity, ("scipy",)),
    RerankingTask: RERANKING,
    RetrievalTask: ScoredKind(read_retrieval, run_retrieval),
    MaskedWordsTask: ScoredKind(read_masked_words, run_masked_words),
    NeedlesTask: ScoredKind(read_needles, run_needles),
    CodesTask: ScoredKind(read_systems, run_codes, ("scikit-learn", "matplotlib")),
    BiasTask: ScoredKind(read_bias, run_bias, ("scipy",)),
    SwapTask: ScoredKind(read_swaps, _run_swaps, ("scipy",)),
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
        UserError: files are missing, all of which are named, or one is malformed; or the protocol does not suit the
            task.
    """
    check_files(evaluation)
    task, protocol, kind = evaluation.task, evaluation.protocol, _KINDS[type(evaluation.task)]
    if isinstance(kind, ScoredKind):
        if fine_tunes(evaluation):
            without_development(protocol)
        kind.read(task, evaluation.data)
    else:
        with_development(kind, task, kind.read(task, evaluation.data), protocol)


def check_files(evaluation: Evaluation) -> None:
    """Check that all files of the task exist.

    Raises:
        UserError: some do not.
    """
    check_all(partial(_check_file, evaluation, name) for name in dict.fromkeys(evaluation.task.files()))


def _check_file(evaluation: Evaluation, name: str) -> None:
    path = evaluation.data / name
    if not path.exists():
        raise UserError(
            f"{path}: no such file; {evaluation.name} needs it: set its directory with --set data=DIRECTORY, or "
            "write your own task file"
        )


def run(model: "EvaluatedModel", evaluation: Evaluation, seed: int, states: Path | None = None) -> Outcome:
    """Compute the scores of one seed. The same model, evaluation and seed give the same scores.

    Args:
        states: directory of the states from which an interrupted training continues.
    Raises:
        UserError: a score is not a finite number, because the model's output is not.
    """
    task, protocol, kind = evaluation.task, evaluation.protocol, _KINDS[type(evaluation.task)]
    if isinstance(kind, ScoredKind):
        result = kind.run(model, task, evaluation.data, protocol, seed)
        outcome = result if isinstance(result, Outcome) else Outcome(result)
    else:
        from .fine_tuning.fine_tuned import fine_tune_task

        splits = with_development(kind, task, kind.read(task, evaluation.data), protocol)
        fine_tuned = fine_tune_task(model, kind, task, splits, protocol, seed, states)
        records = fine_tuned.predict(splits.test, protocol.tokens)
        outcome = Outcome(kind.score(task, records), records, fine_tuned, splits)
    if undefined := [name for name, value in outcome.scores.items() if not isfinite(value)]:
        raise UserError(
            f"{model.name}: {', '.join(undefined)} of {evaluation.name} is not a finite number: the model's outputs "
            "have NaN or infinity; was it exported from a run that diverged?"
        )
    return outcome


def kind_of(task: "AnyTask") -> FineTunedKind:
    """The kind of a task that trains a head.

    Raises:
        UserError: it does not.
    """
    kind = _KINDS[type(task)]
    if isinstance(kind, ScoredKind):
        raise UserError(f"a task of the kind {task.kind} trains no head; use `cmbert evaluate`")
    return kind


def check_keeps(evaluation: Evaluation) -> None:
    """Check that the task trains a model that can be kept.

    Raises:
        UserError: it does not.
    """
    task = evaluation.task
    if not (isinstance(task, RetrievalTask) and task.trains()):
        kind_of(task)


def fine_tunes(evaluation: Evaluation) -> bool:
    """Whether the task fine-tunes the model. Other tasks do not depend on the seed and run once."""
    task = evaluation.task
    if isinstance(task, RetrievalTask):
        return task.trains()
    return trains_head(evaluation)


def trains_head(evaluation: Evaluation) -> bool:
    """Whether the task trains a head, to which all keys of the protocol apply."""
    return isinstance(_KINDS[type(evaluation.task)], FineTunedKind)


def identity(evaluation: Evaluation) -> str:
    """A hash of the task, the protocol and the content of its files, independent of their directory.

    Raises:
        UserError: a file does not exist.
    """
    check_files(evaluation)
    parts: list[Any] = [evaluation.task.model_dump(mode="json"), evaluation.protocol.identity()]
    parts += [_hash(evaluation.data / name) for name in evaluation.task.files()]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _hash(path: Path) -> Any:
    """Of a file; of a directory those of its files, by name."""
    if path.is_file():
        return hash_file(path, "sha256")
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return {file.relative_to(path).as_posix(): hash_file(file, "sha256") for file in files}
