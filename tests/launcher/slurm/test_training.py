"""Training under SLURM, as a user submits it: two nodes with two ranks each, stopped and requeued."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from slurm_cluster import SlurmCluster
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
