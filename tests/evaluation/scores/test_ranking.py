"""Metrics of rankings against scikit-learn and examples computed by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from clinical_modernbert.evaluation.scores.ranking import ndcg, nearest, recall, reciprocal_rank


@given(st.lists(st.integers(0, 3), min_size=2, max_size=40), st.integers(0, 1000))
def test_ndcg_equals_scikit_learns(grades: list[int], seed: int) -> None:
    scores = np.random.default_rng(seed).permutation(len(grades)).astype(float)
    ranked = np.argsort(-scores).tolist()
    expected = ndcg_score([grades], [scores], k=10) if any(grades) else 0.0
    assert ndcg(ranked, dict(enumerate(map(float, grades)))) == pytest.approx(expected)


def test_metrics_computed_by_hand() -> None:
    relevance = {7: 1.0, 3: 2.0, 5: 0.0}
    assert reciprocal_rank([5, 3, 7], relevance) == 1 / 2
    assert reciprocal_rank([5, 1], relevance) == 0
    assert recall([5, 3, *range(100, 109), 7], relevance) == 1 / 2
    assert recall([5], {5: 0.0}) == 0


@pytest.mark.parametrize("k", [1, 10, 700])
def test_nearest_neighbors_equal_those_of_a_full_sort(k: int) -> None:
    generator = np.random.default_rng(0)
    queries, corpus = (generator.normal(size=(n, 8)).astype(np.float32) for n in (300, 600))
    cosines = [[q @ c / np.linalg.norm(q) / np.linalg.norm(c) for c in corpus.astype(float)] for q in queries[:5]]
    expected = np.argsort(-np.array(cosines), axis=1)[:, :k]
    assert nearest(queries, corpus, k)[:5].tolist() == expected.tolist()
    assert nearest(corpus, corpus, 1)[:, 0].tolist() == list(range(600))
