"""A rank's entry point: under DeepSpeed's launcher, torchrun and by hand; exit codes and the exit file."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from small_run import SmallRun

from clinical_modernbert.launcher.train import agreed_exit_code, write_exit_file
from clinical_modernbert.training.resilience.exit_codes import REWOUND, STOPPED

BIN = Path(sys.executable).parent


def start(run: SmallRun, launcher: list[str], entry: Path) -> subprocess.CompletedProcess:
    settings = [
        f"run_dir={run.run_dir}",
        f"data.path={run.data}",
        "schedule.total_tokens=6144",
        "schedule.decay_tokens=0",
    ]
    arguments = ["--config", str(run.recipe), *(part for setting in settings for part in ("--set", setting))]
    environment = {
        **os.environ,
        "GLOO_SOCKET_IFNAME": "lo",
        "DS_ACCELERATOR": "cpu",
        "PATH": f"{BIN}:{os.environ['PATH']}",
    }
    return subprocess.run(
        [*launcher, str(entry), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        cwd=entry.parent.parent,
    )


@pytest.mark.parametrize(
    "launcher",
    [
        pytest.param([str(BIN / "deepspeed"), "--num_accelerators", "2", "--master_port", "29731"], id="deepspeed"),
        pytest.param([str(BIN / "torchrun"), "--nproc-per-node", "2", "--master-port", "29732"], id="torchrun"),
        pytest.param([sys.executable], id="by-hand"),
    ],
)
def test_all_launchers_run_the_same_training(
    new_run: Callable[[], SmallRun], repository: Path, launcher: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Sums with another number of threads round differently.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    run = new_run()
    done = start(run, launcher, repository / "launcher/train.py")
    assert done.returncode == 0, done.stdout + done.stderr
    ranks = 1 if launcher == [sys.executable] else 2
    assert f"{ranks} ranks x" in done.stdout
    reference = new_run()
    reference.train("schedule.total_tokens=6144", "schedule.decay_tokens=0", ranks=ranks)
    assert run.column("loss") == reference.column("loss")


def test_running_the_file_shadows_no_library(repository: Path, tmp_path: Path) -> None:
    """Python puts the directory of the file it runs first on the path, and modules there may shadow libraries."""
    show = "print([name for name in ('cluster', 'runs') if importlib.util.find_spec(name)])"
    (tmp_path / "sitecustomize.py").write_text(f"import atexit, importlib.util\natexit.register(lambda: {show})\n")
    command = [sys.executable, str(repository / "launcher/train.py"), "--help"]
    # No empty entry: it would stand for the working directory, where `runs/` may lie.
    paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    assert subprocess.check_output(command, env=environment, text=True).splitlines()[-1] == "[]"


def test_the_first_failed_rank_or_rank_0_writes_the_exit_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    exit_file = tmp_path / "exit"
    monkeypatch.setenv("CMBERT_EXIT_FILE", str(exit_file))
    monkeypatch.setenv("RANK", "3")
    write_exit_file(0, "")
    assert not exit_file.exists()
    write_exit_file(1, "ValueError")
    monkeypatch.setenv("RANK", "0")
    write_exit_file(0, "")
    assert exit_file.read_text() == "1 ValueError on rank 3\n"
    exit_file.unlink()
    write_exit_file(0, "")
    assert exit_file.read_text() == "0\n"


@pytest.mark.parametrize("code", [STOPPED, REWOUND])
def test_only_rank_0_exits_with_the_agreed_code(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert agreed_exit_code(code) == 0
    monkeypatch.setenv("RANK", "0")
    assert agreed_exit_code(code) == code
