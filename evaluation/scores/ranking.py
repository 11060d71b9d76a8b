"""Which of many vectors are nearest, and how good a ranking is."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
_ROWS = 256


def normalised(vectors: Vectors) -> Vectors:
    """Rows of length 1, (N, d); a row of zeros stays."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def nearest(queries: Vectors, corpus: Vectors, k: int) -> npt.NDArray[np.int64]:
    """Rows of the corpus (N, d) for each query (Q, d), the k of highest cosine first: (Q, min(k, N)).

    Of equals the one that comes first in the corpus.
    """
    corpus = normalised(corpus).T
    parts = [_top(normalised(rows) @ corpus, k) for rows in _chunks(queries)]
    return np.concatenate(parts)


def ndcg(ranked: Sequence[int], relevance: Mapping[int, float], k: int = 10) -> float:
    """Normalised discounted cumulative gain of the first k, gain being relevance (as trec_eval)."""
    discounts = 1 / np.log2(np.arange(2, k + 2))
    gains = np.array([relevance.get(document, 0.0) for document in ranked[:k]])
    ideal = np.array(sorted(relevance.values(), reverse=True)[:k])
    best = float(ideal @ discounts[: len(ideal)])
    return float(gains @ discounts[: len(gains)]) / best if best else 0.0


def reciprocal_rank(ranked: Sequence[int], relevance: Mapping[int, float]) -> float:
    """One over the place of the first relevant document, 0 if there is none."""
    return next((1 / place for place, document in enumerate(ranked, 1) if relevance.get(document, 0) > 0), 0.0)


def recall(ranked: Sequence[int], relevance: Mapping[int, float], k: int = 10) -> float:
    """The share of the relevant documents that is among the first k."""
    relevant = {document for document, grade in relevance.items() if grade > 0}
    return len(relevant & set(ranked[:k])) / len(relevant) if relevant else 0.0


def _chunks(vectors: Vectors) -> Iterator[Vectors]:
    for start in range(0, len(vectors), _ROWS):
        yield vectors[start : start + _ROWS]


def _top(scores: Vectors, k: int) -> npt.NDArray[np.int64]:
    if k < scores.shape[1]:
        chosen = np.sort(np.argpartition(-scores, k - 1, axis=1)[:, :k], axis=1)
    else:
        chosen = np.broadcast_to(np.arange(scores.shape[1]), scores.shape)
    order = np.argsort(-np.take_along_axis(scores, chosen, axis=1), axis=1, kind="stable")
    return np.take_along_axis(chosen, order, axis=1)
