"""The same entry under DeepSpeed's launcher, torchrun and by hand."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from small_run import SmallRun

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
    # Sums over another number of threads round differently.
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    run = new_run()
    done = start(run, launcher, repository / "launcher/train.py")
    assert done.returncode == 0, done.stdout + done.stderr
    ranks = 1 if launcher == [sys.executable] else 2
    assert f"{ranks} ranks x" in done.stdout
    reference = new_run()
    reference.train("schedule.total_tokens=6144", "schedule.decay_tokens=0", ranks=ranks)
    assert run.column("loss") == reference.column("loss")


def test_its_room_hides_no_library(repository: Path, tmp_path: Path) -> None:
    """Python puts the directory of a file that it runs before all others: there lies a `kubernetes`, and more."""
    tell = "print([name for name in ('cluster', 'runs') if importlib.util.find_spec(name)])"
    (tmp_path / "sitecustomize.py").write_text(f"import atexit, importlib.util\natexit.register(lambda: {tell})\n")
    command = [sys.executable, str(repository / "launcher/train.py"), "--help"]
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    assert subprocess.check_output(command, env=environment, text=True).splitlines()[-1] == "[]"
