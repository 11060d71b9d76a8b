"""Assert a kernel's accuracy by the tolerances of `clinical_modernbert.kernels.verify.accuracy`."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from clinical_modernbert.kernels.verify.accuracy import Function, compare


def check(
    kernel: Function, reference: Function, inputs: Sequence[torch.Tensor], rms_limit: float | None = None
) -> None:
    """rms_limit: replaces the default limit of the relative root-mean-square error."""
    results = compare(kernel, reference, inputs)
    if rms_limit is not None:
        results = [replace(result, rms_limit=rms_limit) for result in results]
    assert [result for result in results if not result.passed] == []
