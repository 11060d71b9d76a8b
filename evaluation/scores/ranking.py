"""Nearest neighbors by cosine, and metrics of rankings."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
_ROWS = 256


def normalize(vectors: Vectors) -> Vectors:
    """Scale rows to norm 1, (N, d); a row of zeros stays zero."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def nearest(queries: Vectors, corpus: Vectors, k: int) -> npt.NDArray[np.int64]:
    """Rank the corpus (N, d) for each query (Q, d): row numbers by descending cosine, (Q, min(k, N)).

    Ties are in the order of the corpus.
    """
    corpus = normalize(corpus).T
    parts = [top(normalize(rows) @ corpus, k) for rows in _chunks(queries)]
    return np.concatenate(parts)


def nearest_late(queries: Sequence[Vectors], corpus: Sequence[Vectors], k: int) -> npt.NDArray[np.int64]:
    """As `nearest`, by late interaction: each token of a query counts with its best token of the document (MaxSim).

    Args:
        queries, corpus: the vectors of the tokens of each text, (n, d), of norm 1.
    """
    tokens = np.concatenate(corpus).T
    starts = np.cumsum([0, *(len(vectors) for vectors in corpus[:-1])])
    scores = [np.maximum.reduceat(query @ tokens, starts, axis=1).sum(axis=0) for query in queries]
    return top(np.stack(scores), k)


def ndcg(ranked: Sequence[int], relevance: Mapping[int, float], k: int = 10) -> float:
    """Normalized discounted cumulative gain of the first k, with the relevance as gain (as in trec_eval)."""
    discounts = 1 / np.log2(np.arange(2, k + 2))
    gains = np.array([relevance.get(document, 0.0) for document in ranked[:k]])
    ideal = np.array(sorted(relevance.values(), reverse=True)[:k])
    ideal_gain = float(ideal @ discounts[: len(ideal)])
    return float(gains @ discounts[: len(gains)]) / ideal_gain if ideal_gain else 0.0


def reciprocal_rank(ranked: Sequence[int], relevance: Mapping[int, float]) -> float:
    """One over the rank of the first relevant document, or 0 if there is none."""
    return next((1 / rank for rank, document in enumerate(ranked, 1) if relevance.get(document, 0) > 0), 0.0)


def recall(ranked: Sequence[int], relevance: Mapping[int, float], k: int = 10) -> float:
    """The share of relevant documents among the first k."""
    relevant = {document for document, grade in relevance.items() if grade > 0}
    return len(relevant & set(ranked[:k])) / len(relevant) if relevant else 0.0


def top(scores: Vectors, k: int) -> npt.NDArray[np.int64]:
    """The columns of the k highest scores of each row, best first; ties are in the order of the columns."""
    if k < scores.shape[1]:
        chosen = np.sort(np.argpartition(-scores, k - 1, axis=1)[:, :k], axis=1)
    else:
        chosen = np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
    order = np.argsort(-np.take_along_axis(scores, chosen, axis=1), axis=1, kind="stable")
    return np.take_along_axis(chosen, order, axis=1)


def _chunks(vectors: Vectors) -> Iterator[Vectors]:
    for start in range(0, len(vectors), _ROWS):
        yield vectors[start : start + _ROWS]
