"""Training under SLURM, as a user submits it: stopped and requeued, on other numbers of nodes, with a rank killed."""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from slurm_cluster import SlurmCluster, wait_for
from small_data import SEQ_LENGTH
from small_run import SmallRun

from clinical_modernbert.launcher import cli
from clinical_modernbert.launcher.runs.launch_log import read_launches
from clinical_modernbert.training.checkpoint.attempts import read_attempts

CLUSTER = """
nodes: 2
ranks_per_node: 2
gpus_per_node: 0
fabric: tcp
env: {GLOO_SOCKET_IFNAME: lo, OMP_NUM_THREADS: "1"}
slurm: {time: "30", preflight: "true"}
"""
ELASTIC = CLUSTER.replace("nodes: 2", "nodes: 1-3").replace("ranks_per_node: 2", "ranks_per_node: 1")
LONGER = f"schedule.total_tokens={40 * 4 * SEQ_LENGTH}"


@pytest.fixture
def cmbert(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Callable[..., str]:
    """Run the command in this process and return its output."""

    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["cmbert", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        assert not ended.value.code, err
        return out

    return run


@pytest.mark.slow
def test_a_stopped_and_requeued_run_is_bit_equal(
    slurm_cluster: SlurmCluster,
    new_run: Callable[[], SmallRun],
    cmbert: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    description = tmp_path / "cluster.yaml"
    description.write_text(CLUSTER)
    run, reference = new_run(), new_run()
    _, recipe, *_ = run.arguments()
    settings = [f"run_dir={run.run_dir}", f"data.path={run.data}", LONGER]
    arguments = ["launch", "slurm", recipe, "--cluster", str(description), *(p for s in settings for p in ("--set", s))]
    assert not run.run_dir.exists()
    script = cmbert(*arguments, "--dry-run")
    assert not run.run_dir.exists()

    job = cmbert(*arguments).split()[2]
    submitted = next(run.run_dir.glob("launches/*/job.sbatch"))
    assert [line for line in submitted.read_text().splitlines() if "launches/" not in line] == [
        line for line in script.splitlines() if "launches/" not in line
    ]
    # The job runs its own copy, so later changes of the recipe have no effect.
    run.recipe.write_text("nonsense")
    deadline = time.monotonic() + 300
    while run.completed_steps() < 4:
        assert time.monotonic() < deadline, (run.run_dir / f"logs/slurm-{job}.out").read_text()
        time.sleep(0.05)
    slurm_cluster.run("scancel", "--signal=USR1", "--batch", job)
    state = slurm_cluster.await_state(job, "COMPLETED", "FAILED", seconds=300)
    log = (run.run_dir / f"logs/slurm-{job}.out").read_text()
    assert (state["JobState"], state["Restarts"]) == ("COMPLETED", "1"), log
    assert f"{submitted.parent}/code" in log or "Traceback" not in log
    first, second = read_attempts(run.run_dir)
    assert first["step"] == 0 < second["step"] < 40
    assert first["world_size"] == second["world_size"] == 4
    ends = [(line["code"], line["reason"]) for line in read_launches(run.run_dir) if line["event"] == "ended"]
    assert ends == [(85, "stopped on request"), (0, "complete")]

    reference.train(LONGER, ranks=4)
    assert run.column("loss") == reference.column("loss")
    assert run.column("data_digest") == reference.column("data_digest")


@pytest.mark.slow
def test_a_run_goes_on_after_a_killed_rank_and_on_other_numbers_of_nodes(
    slurm_cluster: SlurmCluster,
    new_run: Callable[[], SmallRun],
    cmbert: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """On 2 nodes, where a rank is killed; then 3, which do not divide the batch of 4; then 1. The losses are equal."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    description = tmp_path / "cluster.yaml"
    description.write_text(ELASTIC)
    run, reference = new_run(), new_run()
    _, recipe, *_ = run.arguments()
    endless = f"schedule.total_tokens={10_000 * 4 * SEQ_LENGTH}"
    settings = [f"run_dir={run.run_dir}", f"data.path={run.data}", endless]
    first, second, third = slurm_cluster.names[:3]

    def progress(attempt: int) -> None:
        """Wait until this attempt, counted from 1, has completed four steps."""

        def has_progressed() -> bool:
            attempts = read_attempts(run.run_dir)
            if len(attempts) < attempt or run.completed_steps() < attempts[-1]["step"] + 4:
                return False
            # Rows of the attempt before are removed after this one is recorded.
            began = max(file.stat().st_mtime for file in (run.run_dir / "attempts").iterdir())
            return (run.run_dir / "metrics.csv").stat().st_mtime > began

        started = time.monotonic()
        wait_for(has_progressed, 300)
        print(f"attempt {attempt}: four steps after {time.monotonic() - started:.1f} s")

    def set_nodes(state: str, *names: str) -> None:
        slurm_cluster.run("scontrol", "update", f"node={','.join(names)}", f"state={state}", "reason=test")

    def requeue() -> None:
        slurm_cluster.run("scancel", "--signal=USR1", "--batch", job)

    try:
        set_nodes("drain", third)
        options = [part for one in settings for part in ("--set", one)]
        job = cmbert("launch", "slurm", recipe, "--cluster", str(description), *options).split()[2]
        progress(1)
        (rank,) = (pid for pid in slurm_cluster.processes(second) if is_rank(pid))
        os.kill(rank, signal.SIGKILL)
        progress(2)
        assert slurm_cluster.job_info(job)["Restarts"] == "0", "restarted in the same allocation"
        set_nodes("resume", third)
        requeue()
        progress(3)
        set_nodes("drain", second, third)
        requeue()
        progress(4)
        info = slurm_cluster.job_info(job)
        cmbert("launch", "stop", str(run.run_dir))
    finally:
        set_nodes("resume", second, third)
    log = (run.run_dir / f"logs/slurm-{job}.out").read_text()
    assert (info["Restarts"], info["NodeList"]) == ("2", first), log
    assert [attempt["world_size"] for attempt in read_attempts(run.run_dir)] == [2, 2, 3, 1]
    assert "4 packs = 3 ranks x 2 micro-batches of up to 1 packs; a rank has up to 2" in log
    ends = [line["code"] for line in read_launches(run.run_dir) if line["event"] == "ended"]
    assert ends == [ends[0], 85, 85, 85]
    assert ends[0] not in (0, 2, 85), log

    steps = run.completed_steps()
    reference.signal_after(steps, signal.SIGKILL, endless, ranks=2)
    assert run.column("data_digest") == reference.column("data_digest")[:steps]
    expected = reference.column("loss")[:steps]
    difference = max(abs(loss / other - 1) for loss, other in zip(run.column("loss"), expected, strict=True))
    print(f"{steps} losses differ by at most {difference:.1e} of their value")
    assert difference < 1e-5


def is_rank(pid: int) -> bool:
    """Whether a process is the Python of a rank, and not its warden."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        return Path(f"/proc/{pid}/comm").read_text().startswith("python") and words[1].endswith("launcher/train.py")
    except (FileNotFoundError, ProcessLookupError, IndexError):
        return False
