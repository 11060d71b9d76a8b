"""A user's mistake never ends with 1, and a crash never with 2: one table of every path by which ranks are started.

Each row is a real process that ends as the row says, with the exit code, and the exit file where there is one.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import pytest

from clinical_modernbert.launcher.ranks.local import run_ranks
from clinical_modernbert.launcher.runs.launch_log import REASONS
from clinical_modernbert.launcher.slurm import deepspeed
from clinical_modernbert.training.resilience.exit_codes import REWOUND, STOPPED, WAITING

REPOSITORY = Path(__file__).resolve().parents[2]
ERRORS = "from clinical_modernbert.configs.errors import RankCountError, TransientError, UserError\n"
RANK = f"""
import sys, types
{ERRORS}
def end(*arguments):
    %s
trainer = types.ModuleType("clinical_modernbert.training.trainer")
trainer.train = end
sys.modules[trainer.__name__] = trainer
sys.argv = ["train.py", "--config", "tiny", *sys.argv[1:]]
from clinical_modernbert.launcher.train import main
main()
"""
COMMAND = f"""
import sys
{ERRORS}
from clinical_modernbert.launcher import cli
def end(*arguments, **options):
    %s
cli.app = end
sys.argv = ["cmbert"]
cli.main()
"""
POD = f"""
import sys
{ERRORS}
from clinical_modernbert.configs.reporting import run_program
from clinical_modernbert.launcher.k8s import node
def end(*arguments):
    %s
node.run_node = end
run_program(node.main)
"""


class End(NamedTuple):
    """How a process ends, and the code that its launcher must see."""

    program: str
    statement: str
    code: int
    environment: Mapping[str, str] = MappingProxyType({})


ENDS = {
    "rank: mistake": End(RANK, "raise UserError('x')", 2),
    "rank: mistake in a setting": End(RANK, "raise AssertionError('not reached')", 2, {"SETTING": "sede=1"}),
    "rank: number of ranks by hand": End(RANK, "raise RankCountError('x')", 2),
    "rank: number of ranks by a scheduler": End(RANK, "raise RankCountError('x')", WAITING, {"CMBERT_RANKS_VARY": "1"}),
    "rank: a store that failed": End(RANK, "raise TransientError('x')", 1),
    "rank: crash": End(RANK, "raise RuntimeError('x')", 1),
    "rank: a library gives up": End(RANK, "sys.exit(2)", 1),
    "rank: out of memory": End(RANK, "raise MemoryError", 1),
    "rank: disk full": End(RANK, "raise OSError(28, 'No space left on device', 'x')", 1),
    "rank: connection lost": End(RANK, "raise ConnectionResetError(104, 'reset')", 1),
    "rank: stopped": End(RANK, f"return {STOPPED}", STOPPED),
    "rank: complete": End(RANK, "return 0", 0),
    "command: mistake": End(COMMAND, "raise UserError('x')", 2),
    "command: a store that failed": End(COMMAND, "raise TransientError('x')", 2),
    "command: no permission": End(COMMAND, "raise PermissionError(13, 'Permission denied', 'x')", 2),
    "command: crash": End(COMMAND, "raise RuntimeError('x')", 1),
    "command: out of memory": End(COMMAND, "raise MemoryError", 1),
    "pod: mistake": End(POD, "raise UserError('x')", 2),
    "pod: crash": End(POD, "raise RuntimeError('x')", 1),
}


def environment(**values: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CMBERT_", "SLURM_"))}
    return {**kept, **values}


@pytest.mark.parametrize("name", ENDS)
def test_an_exit_code_says_mistake_or_crash(name: str, tmp_path: Path) -> None:
    program, statement, code, values = ENDS[name]
    arguments = ["--set", values["SETTING"]] if "SETTING" in values else []
    exit_file = tmp_path / "exit"
    ended = subprocess.run(
        [sys.executable, "-c", program % statement, *arguments],
        env=environment(CMBERT_EXIT_FILE=str(exit_file), **values),
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert ended.returncode == code, ended.stderr
    assert ("Traceback" in ended.stderr) == (code == 1 and "store" not in name)
    if program == RANK:
        assert exit_file.read_text().split()[0] == str(code)


@pytest.mark.slow
def test_a_local_launcher_returns_the_code_of_the_rank(tmp_path: Path) -> None:
    for code in (0, 1, 2, STOPPED, REWOUND, WAITING, 120):
        assert run_ranks([sys.executable, "-c", f"raise SystemExit({code})"], 2) == code


@pytest.mark.parametrize(
    ("written", "ended", "code"),
    [
        ("2\n", 1, 2),
        ("85\n", 0, 85),
        ("1 ValueError on rank 3\n", 2, 1),
        (None, 0, 1),
        (None, 2, 1),
        (None, 85, 1),
        (None, 137, 137),
        (None, 143, 1),
        ("", 2, 1),
    ],
)
def test_deepspeeds_runner_does_not_speak_for_a_rank(
    tmp_path: Path, written: str | None, ended: int, code: int
) -> None:
    file = tmp_path / "exit"
    if written is not None:
        file.write_text(written)
    assert deepspeed._exit_code(file, ended) == code


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "port"), [(["deepspeed", "--num_accelerators", "2", "--master_port"], 29741)], ids=["deepspeed"]
)
def test_deepspeeds_launcher_passes_on_a_mistake(tmp_path: Path, launcher: list[str], port: int) -> None:
    command = [str(Path(sys.executable).parent / launcher[0]), *launcher[1:], str(port)]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    ended = subprocess.run(
        [*command, str(REPOSITORY / "launcher/train.py"), "--config", "nonexistent"],
        env=environment(PATH=path, DS_ACCELERATOR="cpu"),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=300,
    )
    assert ended.returncode == 2, ended.stdout + ended.stderr
    assert "nonexistent: no such file" in ended.stdout + ended.stderr


def test_a_host_without_the_directory_is_a_mistake(tmp_path: Path) -> None:
    request = f'{{"directory": "{tmp_path}/absent", "rendezvous": {{}}, "command": [], "ranks": 1, "env": {{}}}}\n'
    ended = subprocess.run(
        [sys.executable, "-m", "clinical_modernbert.launcher.ranks.hostfile_node"],
        input=request,
        env=environment(),
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert ended.returncode == 2, ended.stderr
    assert f"{tmp_path}/absent: No such file or directory: every host needs the directory" in ended.stderr


def test_the_job_script_knows_every_code_by_the_same_reason() -> None:
    script = (REPOSITORY / "launcher/slurm/job.sh").read_text()
    for code, reason in REASONS.items():
        assert f'record ended {code} "{reason}"' in script
