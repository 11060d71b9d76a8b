"""The self-test passes here, and would notice a kernel that is slightly wrong; the GPU benchmark says what it lacks."""

import subprocess
import sys
from pathlib import Path

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
        "attention global, torch", "attention local, torch", "GeGLU", "residual + norm", "MLM head",
    ]  # fmt: skip
    assert [check for check in checks if not check.good] == []


@pytest.mark.parametrize("wrong", [lambda x: geglu(x) * 1.00002, lambda x: geglu(x).index_fill(0, torch.tensor(5), 0)])
def test_a_slightly_wrong_kernel_is_noticed(wrong, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_test, "geglu", wrong)
    assert [check.kernel for check in self_test.self_test(CPU) if not check.good] == ["GeGLU"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="would run the benchmark: a GPU is here")
def test_the_gpu_benchmark_says_that_there_is_no_gpu(repository: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(repository / "benchmarks/gpu.py"), "--output", str(tmp_path / "results")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "no GPU here" in done.stdout
    assert not (tmp_path / "results").exists()
