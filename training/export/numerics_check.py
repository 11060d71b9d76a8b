"""Numerical-equality check between two implementations of a model."""

import torch

from ...configs.errors import UserError

TOLERANCE = 1e-4
"""Allowed difference between two outputs, as a share of the largest expected value (at least 1)."""


def require_close(actual: torch.Tensor, expected: torch.Tensor, problem: str, libraries: str) -> None:
    """Check that two outputs are equal within `TOLERANCE`.

    Args:
        problem: how the implementations differ, the start of the error message.
        libraries: whose versions a bug report needs.
    Raises:
        UserError: they are not.
    """
    difference = (actual - expected).abs().max().item()
    allowed = TOLERANCE * max(1.0, expected.abs().max().item())
    if not difference <= allowed:
        raise UserError(
            f"{problem} (largest difference {difference:.2e}, allowed {allowed:.2e}): nothing was written; please "
            f"report this with your {libraries} version"
        )
