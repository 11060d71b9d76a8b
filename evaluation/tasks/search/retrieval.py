"""Retrieval by cosine similarity of embeddings, in BEIR's format, with or without fine-tuning."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from ....configs.errors import UserError
from ...fine_tuning.kind import Outcome
from ...models.protocol import Pooling, Protocol
from ...scores.ranking import nearest, nearest_late
from ...scores.units import Score
from .collection import Qrels, SearchTask, read_qrels, read_texts, score_ranking

if TYPE_CHECKING:
    from ...fine_tuning.contrastive import Triple
    from ...fine_tuning.embedder import Embedder
    from ...models.model import EvaluatedModel

_BEST = 100


class RetrievalTask(SearchTask):
    """A collection whose documents are ranked by their vectors."""

    kind: Literal["retrieval"]
    train: str | None = Field(None, description="relevance judgments for fine-tuning with in-batch negatives")
    unlabeled: str | None = Field(None, description="texts to adapt to before, without judgments, in BEIR's format")
    hard_negatives: NonNegativeInt = Field(
        0, description="per query, the nearest documents of the untrained encoder that are not known to be relevant"
    )
    temperature: PositiveFloat = Field(0.05, description="temperature of the cosines in that loss")
    dimensions: tuple[PositiveInt, ...] = Field((), description="shorter vectors that are also trained (Matryoshka)")
    late: PositiveInt | None = Field(None, description="dimensions of token vectors for late interaction (ColBERT)")
    pooling: Pooling = "mean"

    @model_validator(mode="after")
    def _check_late(self) -> "RetrievalTask":
        if self.late and not self.train:
            raise ValueError("late interaction has a new projection, which needs `train`")
        if self.late and (self.dimensions or self.unlabeled):
            raise ValueError("late interaction cannot be combined with dimensions or unlabeled")
        return self

    def trains(self) -> bool:
        """Whether the encoder is trained before it is scored."""
        return bool(self.train or self.unlabeled)

    def files(self) -> list[str]:
        return [self.corpus, self.queries, self.test, *(name for name in (self.train, self.unlabeled) if name)]


class Collection(NamedTuple):
    """Texts by identifier, the judgments of the test and of the training, and texts to adapt to."""

    corpus: dict[str, str]
    queries: dict[str, str]
    test: Qrels
    train: Qrels
    unlabeled: list[str]


def run_retrieval(model: "EvaluatedModel", task: RetrievalTask, data: Path, protocol: Protocol, seed: int) -> Outcome:
    """Scores; the 100 best documents of each query; and, if it was trained, the encoder that found them.

    `cut` is the share of queries and documents that are truncated.
    """
    from ...models.tokens import are_cut

    collection = read_retrieval(task, data)
    embedder = _train(model, task, collection, protocol, seed)
    documents = list(collection.corpus)
    index = {name: number for number, name in enumerate(documents)}
    queries = [collection.queries[name] for name in collection.test]
    texts = [collection.corpus[name] for name in documents]
    rankings = _rank(embedder, queries, texts, protocol.tokens)
    relevances = [{index[name]: grade for name, grade in judged.items()} for judged in collection.test.values()]
    records = [
        {"id": name, "answers": judged, "ranking": [documents[number] for number in ranked]}
        for (name, judged), ranked in zip(collection.test.items(), rankings, strict=True)
    ]
    scores = {**score_ranking(rankings, relevances), "cut": Score("mean", are_cut(model, [*queries, *texts]))}
    return Outcome(scores, records, embedder if task.trains() else None)


def read_retrieval(task: RetrievalTask, data: Path) -> Collection:
    """The texts and the judgments.

    Raises:
        UserError: a file is missing or malformed, or a judgment refers to no text.
    """
    corpus, queries = read_texts(data / task.corpus), read_texts(data / task.queries)
    train = read_qrels(data / task.train, queries, corpus) if task.train else {}
    if task.train and not any(grade > 0 for judged in train.values() for grade in judged.values()):
        raise UserError(f"{data / task.train}: no score above 0, so there is no pair to train on")
    unlabeled = list(read_texts(data / task.unlabeled).values()) if task.unlabeled else []
    return Collection(corpus, queries, read_qrels(data / task.test, queries, corpus), train, unlabeled)


def _train(
    model: "EvaluatedModel", task: RetrievalTask, collection: Collection, protocol: Protocol, seed: int
) -> "Embedder":
    """The encoder as it is, adapted to texts, trained on judgments, or first one and then the other."""
    from ...fine_tuning.contrastive import Loss, train_contrastive
    from ...fine_tuning.embedder import Embedder
    from ...fine_tuning.unlabeled import pairs_of

    embedder = Embedder(model, model.encoder, task.pooling)
    if collection.unlabeled:
        loss = Loss(task.temperature, task.dimensions)
        embedder = train_contrastive(model, pairs_of(collection.unlabeled, seed), task.pooling, loss, protocol, seed)
    if collection.train:
        triples = _triples(embedder, collection, task.hard_negatives, protocol.tokens)
        start = replace(model, encoder=embedder.encoder)
        loss = Loss(task.temperature, task.dimensions, task.late)
        embedder = train_contrastive(start, triples, task.pooling, loss, protocol, seed)
    return embedder


def _triples(embedder: "Embedder", collection: Collection, hard_negatives: int, tokens: int) -> "list[Triple]":
    """A triple for each relevant document of each query."""
    from ...fine_tuning.contrastive import Triple

    relevant = {query: frozenset(name for name, grade in judged.items() if grade > 0)
                for query, judged in collection.train.items()}  # fmt: skip
    negatives: dict[str, tuple[str, ...]] = {}
    if hard_negatives:
        names = list(collection.corpus)
        vectors = embedder.embed(list(collection.corpus.values()), tokens)
        queries = embedder.embed([collection.queries[query] for query in relevant], tokens)
        most = hard_negatives + max(map(len, collection.train.values()))
        for query, ranked in zip(relevant, nearest(queries, vectors, most), strict=True):
            found = [names[n] for n in ranked if names[n] not in collection.train[query]]
            negatives[query] = tuple(collection.corpus[name] for name in found[:hard_negatives])
    return [
        Triple(collection.queries[query], collection.corpus[name], negatives.get(query, ()), answers, name)
        for query, answers in relevant.items()
        for name in sorted(answers)
    ]


def _rank(embedder: "Embedder", queries: Sequence[str], documents: Sequence[str], tokens: int) -> list[list[int]]:
    """The numbers of the 100 best documents for each query."""
    if embedder.projection is None:
        found = nearest(embedder.embed(queries, tokens), embedder.embed(documents, tokens), _BEST)
    else:
        found = nearest_late(embedder.embed_tokens(queries, tokens), embedder.embed_tokens(documents, tokens), _BEST)
    return [row.tolist() for row in found]
