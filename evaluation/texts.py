"""The texts of a task's files, by split, for the search for them in training data."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..configs.errors import UserError
from .fine_tuning.kind import Splits
from .formats.annotations import read_annotations
from .formats.corpora.chemprot import ChemProtFiles
from .formats.corpora.squad import Question
from .formats.records import read_rows
from .suite import check_files, kind_of, trains_head
from .tasks.classification import ClassificationTask
from .tasks.labels import LabelsTask
from .tasks.ner import NerTask
from .tasks.questions import QuestionsTask
from .tasks.regression import RegressionTask
from .tasks.relations import RelationTask
from .tasks.search.collection import SearchTask, read_qrels
from .tasks.search.collection import read_texts as read_collection
from .tasks.search.reranking import RerankingTask
from .tasks.search.retrieval import RetrievalTask
from .tasks.similarity import SimilarityTask, read_similarity

if TYPE_CHECKING:
    from .suite import Evaluation

Texts = dict[str, list[tuple[str, ...]]]
"""By split: its texts in the order of the file, each in one part or more, such as the two texts of a pair."""


def read_texts(evaluation: "Evaluation") -> Texts:
    """The texts of a task, as `evaluate` reads them: a sentence of entities, a text or pair to classify, a document.

    Raises:
        UserError: a file is missing or malformed, or the task has no texts of its own.
    """
    read = _READERS.get(type(evaluation.task))
    if read is None:
        kinds = ", ".join(sorted(_kind(task) for task in _READERS))
        raise UserError(
            f"{evaluation.name}: a task of the kind {evaluation.task.kind} has no test texts that could be in a data "
            f"set; expected a task of the kind {kinds}"
        )
    check_files(evaluation)
    return read(evaluation.task, evaluation.data)


def texts_of_test(evaluation: "Evaluation") -> dict[str, str]:
    """The texts of the test's examples by their ids; of none, if the task trains no head.

    The parts of a pair are on lines of their own.
    """
    if not trains_head(evaluation):
        return {}
    examples = kind_of(evaluation.task).read(evaluation.task, evaluation.data).test
    return {example.id: "\n".join(_parts(example)) for example in examples}


def _kind(task: Any) -> str:
    return str(task.model_fields["kind"].annotation.__args__[0])


def _examples(task: Any, data: Path) -> Texts:
    """The texts of the examples of a task that trains a head."""
    splits: Splits = kind_of(task).read(task, data)
    named = {"test": splits.test, "development": splits.development, "train": splits.train}
    return {name: [_parts(example) for example in examples] for name, examples in named.items() if examples}


def _parts(example: Any) -> tuple[str, ...]:
    if isinstance(example, Question):
        return (example.question, example.context)
    pair = getattr(example, "pair", None)
    return (example.text, pair) if pair else (example.text,)


def _articles(task: RelationTask, data: Path) -> Texts:
    splits = {"test": task.test, "development": task.development, "train": task.train}
    return {name: _documents(task, data, files) for name, files in splits.items() if files}


def _documents(task: RelationTask, data: Path, files: ChemProtFiles | str) -> list[tuple[str, ...]]:
    if isinstance(files, str):
        return _single(text.text for text in read_annotations(data / files, task.format))
    return [(title, abstract) for _, (_, title, abstract) in read_rows(data / files.abstracts, 3, "an article")]


def _pairs(task: SimilarityTask, data: Path) -> Texts:
    first, second, _ = read_similarity(task, data)
    return {"test": list(zip(first, second, strict=True))}


def _collection(task: SearchTask, data: Path) -> Texts:
    """Queries of the test, and the documents."""
    corpus, queries = read_collection(data / task.corpus), read_collection(data / task.queries)
    test = read_qrels(data / task.test, queries, corpus)
    return {"test": _single(queries[name] for name in test), "corpus": _single(corpus.values())}


def _single(texts: Iterable[str]) -> list[tuple[str, ...]]:
    return [(text,) for text in texts]


_READERS: dict[type, Callable[[Any, Path], Texts]] = {
    NerTask: _examples,
    ClassificationTask: _examples,
    LabelsTask: _examples,
    RegressionTask: _examples,
    QuestionsTask: _examples,
    RelationTask: _articles,
    SimilarityTask: _pairs,
    RetrievalTask: _collection,
    RerankingTask: _collection,
}
