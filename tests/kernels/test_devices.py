"""The choice between Triton and PyTorch, as the row-wise operators make it."""

import pytest
import torch

from clinical_modernbert.kernels.devices import use_triton
from clinical_modernbert.kernels.geglu import geglu


def test_unavailable_and_unknown_backends_are_rejected() -> None:
    with pytest.raises(ValueError, match="'triton' is unavailable: triton needs a GPU"):
        geglu(torch.zeros(2, 4), backend="triton")
    with pytest.raises(ValueError, match="backend must be auto, triton or torch, got 'cuda'"):
        geglu(torch.zeros(2, 4), backend="cuda")


def test_other_devices_run_without_triton() -> None:
    assert not use_triton("auto", torch.device("cpu"))
    assert not use_triton("auto", torch.device("mps"))
