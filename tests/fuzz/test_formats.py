"""Damaged and hostile files: each is read or refused with a UserError, in bounded time and memory, and writes nothing.

CMBERT_FUZZ_INPUTS is the number of inputs per format (100 by default).
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import fuzz_formats
import pytest

INPUTS = int(os.environ.get("CMBERT_FUZZ_INPUTS", "100"))
_OVERHEAD = 240  # seconds on a loaded machine


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    fuzz_formats.NAMES,
)
def test_no_input_ends_with_anything_but_a_user_error(tmp_path: Path, name: str) -> None:
    home = tmp_path / "home"
    home.mkdir()
    command = [sys.executable, fuzz_formats.__file__, name, "0", str(INPUTS), str(home)]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "TMPDIR": str(tmp_path),
        "HOME": str(home),
    }
    result = subprocess.run(
        command, cwd=home, env=environment, capture_output=True, text=True, timeout=_OVERHEAD + 2 * INPUTS, check=False
    )
    assert result.returncode == 0, result.stderr[-2000:]
    outcomes = json.loads(result.stdout.splitlines()[-1])
    assert outcomes["failures"] == []
    assert outcomes["read"] + outcomes["refused"] == INPUTS
    assert outcomes["bytes"] < fuzz_formats.MOST_BYTES
    assert {path.name for path in tmp_path.iterdir()} == {"home"}


def test_mutations_depend_on_their_seed_only() -> None:
    inputs = [fuzz_formats.mutate(fuzz_formats.CSV, seed) for seed in range(100)]
    assert inputs == [fuzz_formats.mutate(fuzz_formats.CSV, seed) for seed in range(100)]
    assert len(set(inputs)) > 90
