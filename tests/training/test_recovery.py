"""Overlapping attempts, full disks: the run on disk stays consistent."""

import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path

from small_run import SmallRun
from warm_start import processes

from clinical_modernbert.launcher.runs.launch_log import LAUNCHES
from clinical_modernbert.training.checkpoint import files as checkpoint_files
from clinical_modernbert.training.checkpoint.attempts import read_attempts


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 100
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_superseded_attempt_writes_nothing(
    finished: SmallRun, new_run: Callable[[], SmallRun], tmp_path: Path
) -> None:
    run = new_run()
    lost = run.start(ranks=2)
    wait_for(lambda: (run.run_dir / "checkpoints/step00000004").exists())
    for pid in processes(lost):
        os.kill(pid, signal.SIGSTOP)
    output = run.output.rename(tmp_path / "output.txt")  # the next start writes its own
    saved = checkpoint_files.step_of(run.newest_checkpoint())
    run.train(ranks=2)
    before = written(run)
    for pid in processes(lost):
        os.kill(pid, signal.SIGCONT)
    lost.join(100)
    assert lost.exitcode == 2
    assert "this attempt was superseded by a newer start" in output.read_text()
    assert written(run) == before
    assert run.column("loss") == finished.column("loss")
    assert [attempt["step"] for attempt in read_attempts(run.run_dir)] == [0, saved]


def written(run: SmallRun) -> dict[Path, bytes]:
    """All files written by ranks: the log of launches belongs to the launcher, which only appends to it."""
    return {path: path.read_bytes() for path in run.run_dir.rglob("*") if path.is_file() and path.name != LAUNCHES}


def test_a_full_disk_leaves_the_last_checkpoint_complete(finished: SmallRun, new_run: Callable[[], SmallRun]) -> None:
    """A limit on the size of files simulates the full disk: writing fails midway, on every rank."""
    run = new_run()
    process = run.start(ranks=2)
    wait_for(lambda: (run.run_dir / "checkpoints/step00000004").exists())
    size = max(path.stat().st_size for path in (run.run_dir / "checkpoints").rglob("*.safetensors"))
    for pid in processes(process)[1:]:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size // 2, size // 2))
    process.join(100)
    assert process.exitcode == 1, "the disk may be fixed before the launcher retries"
    assert "step00000008: this checkpoint could not be written, older ones are intact" in run.output.read_text()
    kept = checkpoint_files.list_checkpoints(run.run_dir / "checkpoints")
    assert [checkpoint_files.step_of(path) for path in kept] == [4]
    assert checkpoint_files.find_corruption(kept[0]) is None
    run.train(ranks=2)
    assert run.column("loss") == finished.column("loss")
