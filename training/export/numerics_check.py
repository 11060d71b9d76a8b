"""When two programs compute the same from a model."""

import torch

from ...configs.errors import UserError

LARGEST_DIFFERENCE = 1e-4
"""Between their outputs, as a share of the largest one expected (at least 1)."""


def require_equal(found: torch.Tensor, expected: torch.Tensor, complaint: str, libraries: str) -> None:
    """Raises UserError with the complaint when an output differs too much; `libraries` are those to report it with."""
    difference = (found - expected).abs().max().item()
    allowed = LARGEST_DIFFERENCE * max(1.0, expected.abs().max().item())
    if not difference <= allowed:
        raise UserError(
            f"{complaint} (largest difference {difference:.2e}, allowed {allowed:.2e}): nothing was written; please "
            f"report this with your {libraries} version"
        )
