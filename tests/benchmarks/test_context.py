"""The memory of a long sequence grows with its length, not with its square."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_memory_is_linear_in_the_length(repository: Path) -> None:
    command = [
        sys.executable,
        str(repository / "benchmarks/context.py"),
        "--lengths",
        "2048",
        "8192",
        "--hidden",
        "64",
    ]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = [line.strip("| ").split(" | ") for line in printed.splitlines()[2:]]
    megabytes = {(kind, int(length.replace(",", ""))): float(size) for kind, length, size, *_ in rows}
    assert len(megabytes) == 4
    for kind in ("local", "global"):
        assert megabytes[kind, 8192] < 200  # the scores of one head alone would take 268
        assert megabytes[kind, 8192] < 6 * megabytes[kind, 2048]  # 4 times as long; the square would be 16 times
