"""What a program that measures says of a file that is not there: one line, before it begins, and code 2."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.slow
@pytest.mark.parametrize(
    "program", ["proof.py", "detour.py", "finetune.py", "prepare.py", "phi/audit.py", "phi/names.py", "start_up.py"]
)
def test_an_absent_file_is_one_error_before_anything_begins(program: str, tmp_path: Path) -> None:
    option = {"prepare.py": [], "phi/audit.py": ["--clean"], "phi/names.py": ["--clean"]}.get(program, ["--data"])
    ended = subprocess.run(
        [sys.executable, BENCHMARKS / program, *option, "absent"], capture_output=True, text=True, cwd=tmp_path
    )
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.startswith("error: absent")
    assert (ended.stderr.count("\n"), ended.stdout) == (1, "")
    assert not list(tmp_path.iterdir())
