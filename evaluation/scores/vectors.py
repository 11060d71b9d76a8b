"""Transforms of a set of vectors that use no labels, before they are compared by cosine.

The vectors of a masked language model share a direction: most of each cosine is that direction, not the text. Centering
removes the mean; whitening also gives every direction the same variance (Su et al., arXiv 2103.15316).
"""

from collections.abc import Callable
from typing import Literal

import numpy as np

from .ranking import Vectors

Transform = Literal["raw", "centered", "whitened"]
_NEGLIGIBLE = 1e-6
"""Directions with less than this share of the largest variance are rounding errors, which whitening would magnify."""


def center(vectors: Vectors) -> Vectors:
    """Subtract the mean vector, (N, d)."""
    return vectors - vectors.mean(axis=0, dtype=np.float64).astype(np.float32)


def whiten(vectors: Vectors) -> Vectors:
    """Center, and rotate and scale so that the covariance is the identity, (N, r) of the r directions that vary."""
    centered = center(vectors).astype(np.float64)
    variances, directions = np.linalg.eigh(centered.T @ centered / len(centered))
    varying = variances > _NEGLIGIBLE * variances[-1]
    whitened: Vectors = (centered @ (directions[:, varying] / np.sqrt(variances[varying]))).astype(np.float32)
    return whitened


def as_they_are(vectors: Vectors) -> Vectors:
    return vectors


TRANSFORMS: dict[Transform, Callable[[Vectors], Vectors]] = {
    "raw": as_they_are,
    "centered": center,
    "whitened": whiten,
}
