"""Retrieval by cosine similarity of embeddings, in BEIR's format, with or without fine-tuning."""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat

from ...configs.errors import UserError
from ..formats.records import read_records
from ..formats.values import position, read_identifier, read_number, read_text
from ..models.protocol import Pooling, Protocol
from ..scores.ranking import ndcg, nearest, recall, reciprocal_rank
from ..scores.units import Score

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..models.model import EvaluatedModel

Qrels = dict[str, dict[str, float]]


class RetrievalTask(BaseModel):
    """BEIR's files, relative to the evaluation's `data`: corpus and queries as JSON lines, qrels as TSV."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["retrieval"]
    corpus: str = "corpus.jsonl"
    queries: str = "queries.jsonl"
    test: str = "qrels/test.tsv"
    train: str | None = Field(None, description="relevance judgments for fine-tuning with in-batch negatives")
    temperature: PositiveFloat = Field(0.05, description="temperature of the cosines in that loss")
    pooling: Pooling = "mean"

    def files(self) -> list[str]:
        return [self.corpus, self.queries, self.test, *([self.train] if self.train else [])]


class Collection(NamedTuple):
    """Texts by identifier, the judgments of the test, and the pairs of a query and its document to train on."""

    corpus: dict[str, str]
    queries: dict[str, str]
    test: Qrels
    train: list[tuple[str, str]]


def run_retrieval(
    model: "EvaluatedModel", task: RetrievalTask, data: Path, protocol: Protocol, seed: int
) -> dict[str, Score]:
    """Metrics of the ranking; `cut` is the share of queries and documents that are truncated."""
    from ..models.embed import embed
    from ..models.tokens import are_cut

    corpus, queries, qrels, train = read_retrieval(task, data)
    encoder = None
    if train:
        encoder = train_contrastive(model, train, task.pooling, task.temperature, protocol, seed)
    documents = list(corpus)
    index = {name: number for number, name in enumerate(documents)}
    query_vectors = embed(model, [queries[name] for name in qrels], task.pooling, protocol.tokens, encoder)
    document_vectors = embed(model, [corpus[name] for name in documents], task.pooling, protocol.tokens, encoder)
    relevances = [{index[name]: grade for name, grade in judged.items()} for judged in qrels.values()]
    scores = score_ranking([row.tolist() for row in nearest(query_vectors, document_vectors, 100)], relevances)
    return {**scores, "cut": Score("mean", are_cut(model, [*(queries[name] for name in qrels), *corpus.values()]))}


def read_retrieval(task: RetrievalTask, data: Path) -> Collection:
    """The texts and the judgments.

    Raises:
        UserError: a file is missing or malformed, or a judgment refers to no text.
    """
    corpus, queries = _read_texts(data / task.corpus), _read_texts(data / task.queries)
    train = _read_qrels(data / task.train, queries, corpus) if task.train else {}
    pairs = [(queries[q], corpus[d]) for q, judged in train.items() for d, grade in judged.items() if grade > 0]
    if task.train and not pairs:
        raise UserError(f"{data / task.train}: no score above 0, so there is no pair to train on")
    return Collection(corpus, queries, _read_qrels(data / task.test, queries, corpus), pairs)


def score_ranking(rankings: Sequence[Sequence[int]], relevances: Sequence[Mapping[int, float]]) -> dict[str, Score]:
    """Mean metrics over the queries, from rankings of the 100 nearest documents. A unit is a query."""
    pairs = list(zip(rankings, relevances, strict=True))
    return {
        "ndcg@10": Score("mean", [ndcg(ranked, relevance, 10) for ranked, relevance in pairs]),
        "recall@10": Score("mean", [recall(ranked, relevance, 10) for ranked, relevance in pairs]),
        "mrr@100": Score("mean", [reciprocal_rank(ranked, relevance) for ranked, relevance in pairs]),
    }


def train_contrastive(
    model: "EvaluatedModel",
    pairs: Sequence[tuple[str, str]],
    pooling: Pooling,
    temperature: float,
    protocol: Protocol,
    seed: int,
) -> "nn.Module":
    """Train a copy of the encoder to prefer a query's document over the other documents of the batch (InfoNCE)."""
    import torch
    from torch.nn import functional as F

    from ..fine_tuning.loop import fine_tune, seeded
    from ..models.model import device
    from ..models.pooling import pool
    from ..models.tokens import encode_texts

    query_ids = encode_texts(model, [query for query, _ in pairs])
    document_ids = encode_texts(model, [document for _, document in pairs])
    with seeded(seed):
        encoder = deepcopy(model.encoder)

        def vectors(sequences: "Sequence[Tensor]") -> "Tensor":
            hidden = model.encode(encoder, sequences)
            return F.normalize(pool(hidden, [len(ids) for ids in sequences], pooling), dim=1)

        def losses(batch: "Sequence[tuple[Tensor, Tensor]]") -> "Iterator[Tensor]":
            queries, documents = zip(*batch, strict=True)
            scores = vectors(queries) @ vectors(documents).T / temperature
            yield F.cross_entropy(scores, torch.arange(len(batch), device=device()))

        fine_tune(encoder, list(zip(query_ids, document_ids, strict=True)), losses, protocol, seed)
    return encoder


def _read_texts(path: Path) -> dict[str, str]:
    """Texts by identifier; a title precedes its text. A document may be empty."""
    texts: dict[str, str] = {}
    for number, record in read_records(path, ["_id", "text"]):
        where = position(path, number)
        identifier = read_identifier(record, "_id", where)
        if identifier in texts:
            raise UserError(f"{where}: an earlier text has the same _id; give each text its own")
        parts = [read_text(record, column, where) for column in ("title", "text") if record.get(column)]
        texts[identifier] = " ".join(parts)
    if not texts:
        raise UserError(f"{path}: no texts; expected records with _id and text")
    return texts


def _read_qrels(path: Path, queries: Mapping[str, str], corpus: Mapping[str, str]) -> Qrels:
    qrels: Qrels = {}
    for number, record in read_records(path, ["query-id", "corpus-id", "score"]):
        where = position(path, number)
        query, document = (read_identifier(record, column, where) for column in ("query-id", "corpus-id"))
        if query not in queries or document not in corpus:
            raise UserError(f"{where} refers to a query or document that is not in the queries or the corpus")
        qrels.setdefault(query, {})[document] = read_number(record, "score", where)
    if not qrels:
        raise UserError(f"{path}: no relevance judgments; expected lines with query-id, corpus-id and score")
    return qrels
