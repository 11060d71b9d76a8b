"""Newton-Schulz iteration as published for Muon: five steps of an odd quintic polynomial.

It replaces the singular values of a matrix by values around one, between about 0.7 and 1.2, and keeps its singular
vectors (Jordan et al. 2024, kellerjordan.github.io/posts/muon).
"""

import torch

from .matrices import NEWTON_SCHULZ_STEPS

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_SMALLEST_NORM = 1e-7


def orthogonalize(matrices: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The orthogonal factor of each matrix, approximately; (n, A, B) in `dtype`. A matrix of zeros stays zero."""
    a, b, c = _COEFFICIENTS
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = (matrices.mT if tall else matrices).to(dtype)
    x = x / torch.linalg.vector_norm(x, dim=(-2, -1), keepdim=True).clamp_min(_SMALLEST_NORM)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


def step_scale(rows: int, columns: int) -> float:
    """The factor that gives an orthogonal matrix the root mean square of AdamW's updates, 0.2 (arXiv 2502.16982)."""
    return 0.2 * float(max(rows, columns)) ** 0.5
