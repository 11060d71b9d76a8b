"""Finding documents for queries by the cosine of their vectors, in BEIR's files; with or without fine-tuning."""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, PositiveFloat
from torch import Tensor, nn
from torch.nn import functional as F

from ...configs.errors import UserError
from ..formats.records import read_records
from ..models.classifier import Pooling, pool
from ..models.embed import embed
from ..models.fine_tune import Protocol, fine_tune, seeded
from ..models.model import Subject, device
from ..models.tokens import encode_texts
from ..scores.ranking import ndcg, nearest, recall, reciprocal_rank

Judgements = dict[str, dict[str, float]]


class RetrievalTask(BaseModel):
    """BEIR's layout, relative to the evaluation's `data`: corpus and queries as JSON lines, judgements as TSV."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["retrieval"]
    corpus: str = "corpus.jsonl"
    queries: str = "queries.jsonl"
    test: str = "qrels/test.tsv"
    train: str | None = Field(None, description="judgements to learn from first, with in-batch negatives")
    temperature: PositiveFloat = Field(0.05, description="of the cosines in that loss")
    pooling: Pooling = "mean"

    def files(self) -> list[str]:
        return [self.corpus, self.queries, self.test, *([self.train] if self.train else [])]


def run_retrieval(subject: Subject, task: RetrievalTask, data: Path, protocol: Protocol, seed: int) -> dict[str, float]:
    corpus, queries = _read_texts(data / task.corpus), _read_texts(data / task.queries)
    judged = _read_judgements(data / task.test, queries, corpus)
    encoder = None
    if task.train:
        train = _read_judgements(data / task.train, queries, corpus)
        pairs = [(queries[q], corpus[d]) for q, found in train.items() for d, grade in found.items() if grade > 0]
        encoder = contrast(subject, pairs, task.pooling, task.temperature, protocol, seed)
    documents = list(corpus)
    place = {name: number for number, name in enumerate(documents)}
    asked = embed(subject, [queries[name] for name in judged], task.pooling, protocol.tokens, encoder)
    held = embed(subject, [corpus[name] for name in documents], task.pooling, protocol.tokens, encoder)
    relevances = [{place[name]: grade for name, grade in found.items()} for found in judged.values()]
    return score_ranking([row.tolist() for row in nearest(asked, held, 100)], relevances)


def score_ranking(ranked: Sequence[Sequence[int]], relevances: Sequence[Mapping[int, float]]) -> dict[str, float]:
    """Means over the queries; rankings are of the 100 best."""
    pairs = list(zip(ranked, relevances, strict=True))
    return {
        "ndcg@10": sum(ndcg(found, relevance, 10) for found, relevance in pairs) / len(pairs),
        "recall@10": sum(recall(found, relevance, 10) for found, relevance in pairs) / len(pairs),
        "mrr@100": sum(reciprocal_rank(found, relevance) for found, relevance in pairs) / len(pairs),
    }


def contrast(
    subject: Subject,
    pairs: Sequence[tuple[str, str]],
    pooling: Pooling,
    temperature: float,
    protocol: Protocol,
    seed: int,
) -> nn.Module:
    """A copy of the encoder, trained to prefer a query's document to the other documents of its batch (InfoNCE)."""
    asked = encode_texts(subject, [query for query, _ in pairs])
    held = encode_texts(subject, [document for _, document in pairs])
    with seeded(seed):
        encoder = deepcopy(subject.encoder)

        def vectors(sequences: Sequence[Tensor]) -> Tensor:
            hidden = subject.encode(encoder, sequences)
            return F.normalize(pool(hidden, [len(ids) for ids in sequences], pooling), dim=1)

        def losses(batch: Sequence[tuple[Tensor, Tensor]]) -> Iterator[Tensor]:
            queries, documents = zip(*batch, strict=True)
            scores = vectors(queries) @ vectors(documents).T / temperature
            yield F.cross_entropy(scores, torch.arange(len(batch), device=device()))

        fine_tune(encoder, list(zip(asked, held, strict=True)), losses, protocol, seed)
    return encoder


def _read_texts(path: Path) -> dict[str, str]:
    """Texts by id, a title before its text."""
    return {
        str(record["_id"]): " ".join(part for part in (record.get("title"), record["text"]) if part)
        for _, record in read_records(path, ["_id", "text"])
    }


def _read_judgements(path: Path, queries: Mapping[str, str], corpus: Mapping[str, str]) -> Judgements:
    judgements: Judgements = {}
    for number, record in read_records(path, ["query-id", "corpus-id", "score"]):
        query, document, grade = record["query-id"], record["corpus-id"], record["score"]
        if query not in queries or document not in corpus:
            raise UserError(f"{path}: record {number} judges a query or document that is not among queries and corpus")
        try:
            judgements.setdefault(query, {})[document] = float(grade)
        except ValueError as error:
            raise UserError(f"{path}: record {number}: score is not a number") from error
    if not judgements:
        raise UserError(f"{path}: holds no judgement; expected lines of query-id, corpus-id and score")
    return judgements
