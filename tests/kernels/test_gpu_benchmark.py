"""benchmarks/gpu.py on a machine without a GPU."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="would run the benchmark: a GPU is available")
def test_without_a_gpu_it_prints_a_message_and_writes_nothing(repository: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(repository / "benchmarks/gpu.py"), "--output", str(tmp_path / "results")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "no GPU" in done.stdout
    assert not (tmp_path / "results").exists()
