"""Contrastive training: the document of a query scores above the others of its batch (InfoNCE).

The losses equal sentence-transformers' MultipleNegativesRankingLoss and MatryoshkaLoss (a test compares them), which
would pad. Documents that are known to be relevant to a query are no negatives of it.
"""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..models.model import EvaluatedModel, device
from ..models.protocol import Pooling, Protocol
from ..models.tokens import encode_texts
from .embedder import Embedder
from .loop import fine_tune, seeded


class Triple(NamedTuple):
    """A query, a document that answers it, and others that do not.

    Attributes:
        relevant: identifiers of all documents that are relevant to the query.
        document_id: of the document.
    """

    query: str
    document: str
    negatives: tuple[str, ...] = ()
    relevant: frozenset[str] = frozenset()
    document_id: str = ""


class Loss(NamedTuple):
    """What is trained.

    Attributes:
        temperature: of the cosines.
        dimensions: also the first k of the vector's dimensions are trained, for each of these k (Matryoshka).
        late: dimensions of the vectors of tokens for late interaction; None: one vector per text.
    """

    temperature: float = 0.05
    dimensions: tuple[int, ...] = ()
    late: int | None = None


class _Encoded(NamedTuple):
    query: Tensor
    documents: list[Tensor]
    triple: Triple


def train_contrastive(
    model: EvaluatedModel, triples: Sequence[Triple], pooling: Pooling, loss: Loss, protocol: Protocol, seed: int
) -> Embedder:
    """Train a copy of the encoder, and the projection of late interaction."""
    queries = encode_texts(model, [triple.query for triple in triples])
    documents = iter(encode_texts(model, [text for one in triples for text in (one.document, *one.negatives)]))
    examples = [
        _Encoded(query, [next(documents) for _ in range(1 + len(triple.negatives))], triple)
        for query, triple in zip(queries, triples, strict=True)
    ]
    with seeded(seed):
        encoder = deepcopy(model.encoder)
        projection = nn.Linear(model.hidden_size, loss.late, bias=False).to(device()) if loss.late else None
        embedder = Embedder(model, encoder, pooling, projection)
        trained = nn.ModuleList([encoder, *([projection] if projection else [])])

        def losses(batch: Sequence[_Encoded]) -> Iterator[Tensor]:
            queries = [example.query for example in batch]
            # The documents of all queries come first, so that the one of query i has the number i.
            documents = [example.documents[0] for example in batch]
            documents += [negative for example in batch for negative in example.documents[1:]]
            excluded = also_relevant([example.triple for example in batch], len(documents)).to(device())
            targets = torch.arange(len(batch), device=device())
            yield torch.stack(
                [
                    F.cross_entropy(scores.masked_fill(excluded, -torch.inf) / loss.temperature, targets)
                    for scores in _scores(embedder, queries, documents, loss)
                ]
            ).sum()

        fine_tune(trained, examples, losses, protocol, seed)
    return embedder


def also_relevant(triples: Sequence[Triple], documents: int) -> Tensor:
    """Which of the N documents of a batch must not be negatives of which of its B queries, bool (B, N)."""
    excluded = torch.zeros(len(triples), documents, dtype=torch.bool)
    for row, query in enumerate(triples):
        for column, other in enumerate(triples):
            excluded[row, column] = row != column and other.document_id in query.relevant
    return excluded


def _scores(embedder: Embedder, queries: Sequence[Tensor], documents: Sequence[Tensor], loss: Loss) -> list[Tensor]:
    """The scores of all documents for each query, (B, N): once, or for each number of dimensions."""
    if loss.late:
        sides = (embedder.token_vectors(queries), embedder.token_vectors(documents))
        return [max_similarity(*sides, [len(ids) for ids in queries], [len(ids) for ids in documents])]
    first, second = embedder.text_vectors(queries), embedder.text_vectors(documents)
    sizes = sorted({*loss.dimensions, first.shape[1]}, reverse=True)
    return [F.normalize(first[:, :size], dim=1) @ F.normalize(second[:, :size], dim=1).T for size in sizes]


def max_similarity(queries: Tensor, documents: Tensor, query_lengths: Sequence[int], lengths: Sequence[int]) -> Tensor:
    """MaxSim, (B, N): for each token of a query the best token of the document, added up.

    Args:
        queries: vectors of the tokens of B queries, (Tq, k), of the lengths `query_lengths`.
        documents: of N documents, (Td, k).
    """
    similarities = queries @ documents.T
    columns = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths)).to(similarities.device)
    rows = torch.repeat_interleave(torch.arange(len(query_lengths)), torch.tensor(query_lengths)).to(columns.device)
    best = similarities.new_full((len(queries), len(lengths)), -torch.inf)
    best = best.scatter_reduce(1, columns.expand(len(queries), -1), similarities, "amax")
    return best.new_zeros(len(query_lengths), len(lengths)).index_add(0, rows, best)
