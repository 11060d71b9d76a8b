"""A kernel held to the rule of `clinical_modernbert.kernels.verify.accuracy`."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from clinical_modernbert.kernels.verify.accuracy import Function, compare


def check(
    kernel: Function, reference: Function, inputs: Sequence[torch.Tensor], rms_limit: float | None = None
) -> None:
    """rms_limit: instead of the rule's own."""
    found = compare(kernel, reference, inputs)
    if rms_limit is not None:
        found = [replace(one, rms_limit=rms_limit) for one in found]
    assert not [one for one in found if not one.good]
