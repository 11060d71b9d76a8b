"""The self-test passes on a CPU and detects a kernel that is slightly wrong."""

from collections.abc import Callable

import pytest
import torch

from clinical_modernbert.kernels.geglu import geglu
from clinical_modernbert.kernels.verify import self_test

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _small_vocabulary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_test, "VOCABULARY", 4096)


def test_every_kernel_passes_on_a_cpu() -> None:
    checks = list(self_test.self_test(CPU))
    assert [check.kernel for check in checks] == [
        "attention global, torch", "attention local, torch", "attention global causal, torch",
        "attention local causal, torch", "GeGLU", "residual + norm", "MLM head", "StableAdamW",
    ]  # fmt: skip
    assert [check for check in checks if not check.passed] == []


@pytest.mark.parametrize("wrong", [lambda x: geglu(x) * 1.00002, lambda x: geglu(x).index_fill(0, torch.tensor(5), 0)])
def test_a_slightly_wrong_kernel_fails(
    wrong: Callable[[torch.Tensor], torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(self_test, "geglu", wrong)
    assert [check.kernel for check in self_test.self_test(CPU) if not check.passed] == ["GeGLU"]
