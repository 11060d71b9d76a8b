"""The texts of a task's files, by split, for the search for them in training data."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..configs.errors import UserError
from .formats.annotations import read_annotations
from .formats.corpora.chemprot import ChemProtFiles
from .formats.records import read_rows
from .suite import check_files
from .tasks.classification import ClassificationTask, read_labeled_texts
from .tasks.ner import NerTask, read_ner
from .tasks.relations import RelationTask
from .tasks.retrieval import RetrievalTask, read_retrieval
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


def _kind(task: Any) -> str:
    return str(task.model_fields["kind"].annotation.__args__[0])


def _sentences(task: NerTask, data: Path) -> Texts:
    splits = read_ner(task, data)._asdict()
    return {name: [(one.text,) for one in splits[name]] for name in ("test", "development", "train") if splits[name]}


def _labeled(task: ClassificationTask, data: Path) -> Texts:
    splits = {"test": task.test, "development": task.development, "train": task.train}
    return {
        name: [(one.text, one.pair) if one.pair else (one.text,) for one in read_labeled_texts(data / file, task)]
        for name, file in splits.items()
        if file
    }


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


def _collection(task: RetrievalTask, data: Path) -> Texts:
    """Queries of the test, and the documents."""
    corpus, queries, test, *_ = read_retrieval(task, data)
    return {"test": _single(queries[name] for name in test), "corpus": _single(corpus.values())}


def _single(texts: Iterable[str]) -> list[tuple[str, ...]]:
    return [(text,) for text in texts]


_READERS: dict[type, Callable[[Any, Path], Texts]] = {
    NerTask: _sentences,
    ClassificationTask: _labeled,
    RelationTask: _articles,
    SimilarityTask: _pairs,
    RetrievalTask: _collection,
}
