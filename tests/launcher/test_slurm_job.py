"""The SLURM job that looks after itself, on a real cluster: each of the ways in which a job ends.

The ranks keep training's protocol without training (`slurm_rank.py`); test_slurm_training.py trains.
"""

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from slurm_cluster import SlurmCluster, wait_for

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.launcher.cluster import ClusterConfig
from clinical_modernbert.launcher.launches import read_launches
from clinical_modernbert.launcher.slurm import render_job, submit

RANK = Path(__file__).parents[1] / "support" / "slurm_rank.py"
_NUMBERS = itertools.count()


class Job:
    """A run of its own on two nodes with two ranks each, and its jobs."""

    def __init__(self, slurm: SlurmCluster, directory: Path) -> None:
        self.slurm = slurm
        # SLURM lets one job of a name run at a time, and pytest's directories have equal names
        self.run_dir = directory / f"run{next(_NUMBERS)}"
        self.launch = self.run_dir / "launches" / "one"
        self.launch.mkdir(parents=True)
        (self.run_dir / "logs").mkdir()
        self.jobs: list[str] = []

    def submit(self, *arguments: object, env: dict[str, str] | None = None, jobs: int = 1, **slurm: Any) -> str:
        """Ranks with these arguments; returns the first job's number."""
        command = [sys.executable, str(RANK), str(self.run_dir), *map(str, arguments)]
        return self.submit_command(command, env=env or {}, jobs=jobs, **slurm)

    def submit_command(
        self, command: list[str], env: dict[str, str], jobs: int = 1, pass_env: tuple[str, ...] = (), **slurm: Any
    ) -> str:
        cluster = ClusterConfig.model_validate(
            {
                "nodes": 2, "ranks_per_node": 2, "env": env, "pass_env": pass_env, "fabric": "tcp",
                "slurm": {"preflight": None, "time": "30", "partition": "debug", **slurm},
            }
        )  # fmt: skip
        self.script = self.launch / "job.sbatch"
        self.script.write_text(render_job(self.launch, self.run_dir, cluster, command))
        self.jobs += [submit(self.script, cluster) for _ in range(jobs)]
        return self.jobs[0]

    def starts(self) -> list[tuple[str, int, str]]:
        """(job.restart.step of srun, from which step, nodes) of each start of the ranks."""
        path = self.run_dir / "starts"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(name, int(step), nodes) for name, step, nodes in (line.split() for line in lines)]

    def await_starts(self, count: int) -> None:
        wait_for(lambda: len(self.starts()) >= count, 30)

    def log(self) -> str:
        return "".join(path.read_text() for path in sorted((self.run_dir / "logs").glob("*.out")))

    def ends(self) -> list[tuple[int, str]]:
        return [(line["code"], line["reason"]) for line in read_launches(self.run_dir) if line["event"] == "ended"]


@pytest.fixture
def job(slurm_cluster: SlurmCluster, tmp_path: Path) -> Iterator[Job]:
    job = Job(slurm_cluster, tmp_path)
    yield job
    numbers = slurm_cluster.run("squeue", "-h", "-o", "%i").split()
    if numbers:
        slurm_cluster.run("scancel", *numbers)
        wait_for(lambda: not slurm_cluster.run("squeue", "-h"), 30)


def test_a_run_completes_and_its_environment_arrives_whole(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"COMMAS": "mlx5_0,mlx5_1", "SPACES": "AWS  Libfabric", "QUOTES": """it's "so" $HOME `x` \\n"""}
    monkeypatch.setenv("RUN_PASSWORD", "hush, hush")
    show = "import os, sys; name = f\"{sys.argv[1]}/seen{os.environ['SLURM_PROCID']}\"; " + (
        "open(name, 'w').write('|'.join(os.environ[n] for n in sys.argv[2:]))"
    )
    names = [*values, "RUN_PASSWORD", "MASTER_ADDR", "NCCL_IB_DISABLE", "CUDA_VISIBLE_DEVICES"]
    command = [sys.executable, "-c", show, str(job.run_dir), *names]
    number = job.submit_command(command, values, pass_env=("RUN_PASSWORD",))
    facts = job.slurm.await_state(number, "COMPLETED", "FAILED")
    assert facts["JobState"] == "COMPLETED", job.log()
    expected = "|".join([*values.values(), "hush, hush", facts["NodeList"][:4] + "1", "1", "0,1"])
    assert [(job.run_dir / f"seen{rank}").read_text() for rank in range(4)] == [expected] * 4
    assert "hush" not in job.script.read_text() + job.log() + str(facts)
    assert job.ends() == [(0, "complete")]


def test_a_variable_that_is_not_there_is_told_before_submitting(job: Job) -> None:
    with pytest.raises(UserError, match="NOT_THERE, not set in your environment"):
        job.submit_command(["true"], {}, pass_env=("NOT_THERE",))


def test_asked_to_stop_it_saves_waits_in_the_queue_and_goes_on(job: Job) -> None:
    number = job.submit("--steps", 60)
    job.await_starts(1)
    time.sleep(0.5)
    job.slurm.run("scancel", "--signal=USR1", "--batch", number)  # as SLURM does before the time limit
    job.slurm.await_state(number, "COMPLETED", "FAILED")
    assert job.slurm.facts(number)["Restarts"] == "1"
    (_, first, _), (name, second, _) = job.starts()
    assert first == 0 < second < 60
    assert name.startswith(f"{number}.1.")
    assert job.ends() == [(85, "stopped as asked"), (0, "complete")]


def test_asked_while_the_ranks_are_starting_it_asks_them_again(job: Job) -> None:
    # Python that takes its time before it can hear
    rank = f"import sys, time; time.sleep(2); sys.argv = sys.argv[1:]; exec(open({str(RANK)!r}).read())"
    number = job.submit_command([sys.executable, "-c", rank, "rank", str(job.run_dir), "--steps", "200"], {})
    wait_for(lambda: "started" in str(read_launches(job.run_dir)), 10)
    time.sleep(0.5)
    job.slurm.run("scancel", "--signal=USR1", "--batch", number)
    wait_for(lambda: job.ends(), 20)
    assert job.ends()[0] == (85, "stopped as asked"), job.log()


def test_a_cancelled_job_stays_cancelled_although_its_ranks_saved(job: Job) -> None:
    number = job.submit("--steps", 1000)
    job.await_starts(1)
    time.sleep(0.3)
    job.slurm.run("scancel", number)
    job.slurm.await_state(number, "CANCELLED")
    wait_for(lambda: not job.slurm.run("squeue", "-h"), 20)
    assert list((job.run_dir / "checkpoints").iterdir())
    assert "back to the queue" not in job.log()
    assert job.slurm.state(number) == "CANCELLED"


def test_a_preempted_job_saves_and_goes_on_after_the_other(job: Job) -> None:
    number = job.submit("--steps", 60, partition="low", exclude=["node3"])
    job.await_starts(1)
    time.sleep(0.3)
    other = job.slurm.run(
        "sbatch", "--parsable", "-p", "high", "-N2", "-w", "node[1-2]", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 0.5"
    )
    facts = job.slurm.await_state(number, "COMPLETED", "FAILED", "CANCELLED")
    assert (facts["JobState"], facts["Restarts"]) == ("COMPLETED", "1"), job.log()
    assert job.slurm.state(other.strip()) == "COMPLETED"
    assert job.starts()[1][1] > 0
    assert job.ends()[0] == (85, "ended by SLURM: cancelled, preempted, or out of time")


def test_after_a_crash_the_ranks_start_again_at_once(job: Job) -> None:
    number = job.submit("--crash-at", 5, "--every", 2)
    assert job.slurm.await_state(number, "COMPLETED", "FAILED")["Restarts"] == "0"
    assert [(step, name.split(".")[1]) for name, step, _ in job.starts()] == [(0, "0"), (4, "0")]
    assert job.ends() == [(3, "crashed"), (0, "complete")]


def test_crashes_without_progress_end_the_run_and_its_chain(job: Job) -> None:
    number = job.submit("--crash-at", 5, "--every", 2, "--always", jobs=2)
    facts = job.slurm.await_state(number, "COMPLETED", "FAILED")
    assert (facts["JobState"], facts["ExitCode"]) == ("FAILED", "3:0")
    # the first crash came after a new checkpoint
    assert [step for _, step, _ in job.starts()] == [0, 4, 4]
    assert "gave up: 3 crashes without a new checkpoint" in job.log()
    job.slurm.await_state(job.jobs[1], "COMPLETED")
    assert len(job.starts()) == 3


def test_a_mistake_in_the_settings_is_not_tried_again(job: Job) -> None:
    number = job.submit("--crash-at", 2, "--code", 2)
    assert job.slurm.await_state(number, "COMPLETED", "FAILED")["ExitCode"] == "2:0"
    assert len(job.starts()) == 1


def test_a_rewound_run_starts_again_at_once_and_is_no_crash(job: Job) -> None:
    number = job.submit("--crash-at", 5, "--every", 2, "--code", 86, max_failures=1)
    assert job.slurm.await_state(number, "COMPLETED", "FAILED")["JobState"] == "COMPLETED"
    assert [code for code, _ in job.ends()] == [86, 0]


def test_the_next_job_of_a_chain_goes_on(job: Job) -> None:
    first = job.submit("--steps", 40, jobs=2)
    job.await_starts(1)
    time.sleep(0.3)
    assert job.slurm.state(job.jobs[1]) == "PENDING"
    job.slurm.run("scancel", "--signal=USR1", "--batch", first)
    job.slurm.await_state(job.jobs[1], "COMPLETED", "FAILED")
    assert job.slurm.facts(first)["Restarts"] == "0"
    assert [name.split(".")[0] for name, _, _ in job.starts()] == job.jobs
    assert job.starts()[1][1] > 0


def test_a_node_that_fails_the_preflight_is_left_out(job: Job) -> None:
    number = job.submit(preflight='echo looking; test "$SLURMD_NODENAME" != node1')
    facts = job.slurm.await_state(number, "COMPLETED", "FAILED")
    assert facts["ExitCode"] == "90:0", job.log()
    successor = str(int(number) + 1)
    assert job.slurm.await_state(successor, "COMPLETED", "FAILED")["NodeList"] == "node[2-3]"
    assert [(name.split(".")[0], nodes) for name, _, nodes in job.starts()] == [(successor, "node[2-3]")]


@pytest.mark.parametrize(
    ("preflight", "told"),
    [
        ('test "$SLURMD_NODENAME" != node1 || sleep 60', "preflight failed on node1"),
        ("false", "preflight failed on every node, so it is no node's fault"),
    ],
    ids=["one", "all"],
)
def test_a_preflight_that_fails_too_often_stops_the_job_with_its_reason(job: Job, preflight: str, told: str) -> None:
    number = job.submit(preflight=preflight, max_excluded=0, preflight_seconds=1)
    assert job.slurm.await_state(number, "COMPLETED", "FAILED")["ExitCode"] == "90:0"
    assert (job.launch / "over").read_text() == f"{told}\n"
    assert not job.starts()


def test_a_node_given_up_for_lost_cannot_touch_the_run_that_goes_on_elsewhere(job: Job) -> None:
    number = job.submit("--steps", 100, "--every", 10, exclude=["node3"])
    job.await_starts(1)
    wait_for(lambda: (job.run_dir / "checkpoints/step00000010").exists(), 10)
    lost = job.slurm.daemon_of("node1")  # where the script runs
    os.kill(lost, signal.SIGSTOP)
    try:
        job.slurm.run("scontrol", "update", f"job={number}", "ExcNodeList=")
        job.slurm.run("scontrol", "update", "node=node1", "state=down", "reason=lost")
        wait_for(lambda: job.slurm.state(number) == "PENDING", 20)
        job.slurm.run("scontrol", "update", f"job={number}", "ExcNodeList=")
        job.await_starts(2)
        zombies = [pid for pid in job.slurm.processes("node1") if pid != lost]
        assert len(zombies) > 3
        facts = job.slurm.await_state(number, "COMPLETED", "FAILED", seconds=60)
    finally:
        os.kill(lost, signal.SIGCONT)
        job.slurm.run("scontrol", "update", "node=node1", "state=resume")
    assert (facts["JobState"], facts["Restarts"], facts["NodeList"]) == ("COMPLETED", "1", "node[2-3]"), job.log()
    assert job.starts()[1][1] >= 10
    wait_for(lambda: "a newer start owns this run" in job.log() or "node1" in job.slurm.run("sinfo", "-h", "-t", "idle", "-o", "%N"), 20)


def test_the_script_reads_as_bash(job: Job) -> None:
    job.launch = job.launch.parent / "it's a name"
    job.launch.mkdir()
    cluster = ClusterConfig(ranks_per_node=8, setup=("module load 'a b'",), env={"A": "it's"})
    script = render_job(job.launch, job.run_dir, cluster, ["python", "-c", "print('x')"])
    assert not subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=True).stderr
