"""Centering and whitening: means and covariances of the result, and what remains of a common direction."""

import numpy as np
import pytest

from clinical_modernbert.evaluation.scores.ranking import normalize
from clinical_modernbert.evaluation.scores.vectors import TRANSFORMS, center, whiten

GENERATOR = np.random.default_rng(0)
ROTATION = np.linalg.qr(GENERATOR.normal(size=(8, 8)))[0]
VECTORS = (GENERATOR.normal(size=(500, 8)) * [9, 5, 3, 2, 1, 0.5, 0.1, 0.05] @ ROTATION + 20).astype(np.float32)


def test_centered_vectors_have_mean_0_and_the_same_differences() -> None:
    centered = center(VECTORS)
    np.testing.assert_allclose(centered.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(centered - centered[0], VECTORS - VECTORS[0], atol=1e-5)


def test_whitened_vectors_have_covariance_1_in_all_directions_that_vary() -> None:
    np.testing.assert_allclose(np.cov(whiten(VECTORS).T, bias=True), np.eye(8), atol=1e-3)
    twice = np.concatenate([VECTORS, VECTORS], axis=1)
    assert whiten(twice).shape == (500, 8)


def test_whitened_cosines_do_not_depend_on_a_linear_map_of_the_vectors() -> None:
    vectors = normalize(whiten(VECTORS))
    mapped = normalize(whiten((VECTORS @ np.diag(np.arange(1, 9)) - 5).astype(np.float32)))
    np.testing.assert_allclose(vectors @ vectors.T, mapped @ mapped.T, atol=2e-3)


@pytest.mark.parametrize("name", ["centered", "whitened"])
def test_the_common_direction_is_gone(name: str) -> None:
    def mean_cosine(vectors: np.ndarray) -> float:
        return float((normalize(vectors) @ normalize(vectors).T).mean())

    assert mean_cosine(VECTORS) > 0.8
    assert abs(mean_cosine(TRANSFORMS[name](VECTORS))) < 0.05  # type: ignore[index]
    assert TRANSFORMS["raw"](VECTORS) is VECTORS
