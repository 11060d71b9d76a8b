"""`cmbert launch stop` for every launcher: a checkpoint first, nothing starts again, and never another's process."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from slurm_cluster import SlurmCluster, wait_for
from slurm_job import SlurmRun
from small_data import SEQ_LENGTH
from small_run import CMBERT, SmallRun
from typer.testing import CliRunner

from clinical_modernbert.configs.errors import USER_ERROR, UserError
from clinical_modernbert.launcher.cli import app
from clinical_modernbert.launcher.runs import stop_request
from clinical_modernbert.launcher.runs.launch_log import open_launches, record_end, record_start, run_and_record
from clinical_modernbert.launcher.runs.processes import Process, is_alive, send, this_process
from clinical_modernbert.launcher.runs.status import has_ended, read_status
from clinical_modernbert.launcher.runs.stop_request import STOP, read_stop, refuse_if_stopped, request_stop
from clinical_modernbert.training.checkpoint.files import step_of
from clinical_modernbert.training.resilience.exit_codes import REWOUND, STOPPED

LONG = f"schedule.total_tokens={4000 * 4 * SEQ_LENGTH}", "checkpoint.every_steps=4000"


def stop(run_dir: Path, *options: str) -> str:
    result = CliRunner().invoke(app, ["launch", "stop", str(run_dir), *options])
    if isinstance(result.exception, UserError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen]:
    with subprocess.Popen(["sleep", "600"]) as process:
        yield process
        process.kill()


def process_of(pid: int) -> Process:
    code = "from clinical_modernbert.launcher.runs.processes import _born; import sys; print(_born(int(sys.argv[1])))"
    born = subprocess.check_output([sys.executable, "-c", code, str(pid)], text=True).strip()
    own = this_process()
    assert own is not None
    return Process(host=own.host, pid=pid, born=born)


def write_launch(run_dir: Path, process: Process, launcher: str = "local") -> None:
    run_dir.mkdir(exist_ok=True)
    entry = {"time": "2026-01-01T00:00:00+00:00", "event": "started", "launcher": launcher, "job": None, "nodes": "n"}
    with (run_dir / "launches.jsonl").open("a") as file:
        file.write(json.dumps({**entry, "process": process.model_dump()}) + "\n")


def test_a_pid_that_was_given_to_another_process_is_never_signaled(tmp_path: Path, sleeper: subprocess.Popen) -> None:
    process = process_of(sleeper.pid)
    boot, _, tick = process.born.partition(" ")
    others = [f"{boot} {int(tick) + 1}", f"another-boot {tick}"]
    for number, born in enumerate(others):
        reused = process.model_copy(update={"born": born})
        write_launch(tmp_path / f"run{number}", reused)
        assert "nothing runs" in stop(tmp_path / f"run{number}")
        assert not send(reused, signal.SIGKILL)
    assert sleeper.poll() is None
    assert is_alive(process.model_copy(update={"host": "another"})) is None
    assert "cause unknown" in read_status(tmp_path / "run0").state
    assert send(process, signal.SIGTERM)
    assert sleeper.wait(10) == -signal.SIGTERM
    assert not is_alive(process)


def test_a_launcher_that_does_not_stop_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clinical_modernbert.launcher.runs.stopping.POLL_SECONDS", 0.2)
    with subprocess.Popen(["bash", "-c", "trap '' TERM; while :; do sleep 0.1; done"]) as stubborn:
        write_launch(tmp_path / "run", process_of(stubborn.pid))
        time.sleep(0.3)
        assert "ending it" in stop(tmp_path / "run", "--seconds", "0.5")
        assert stubborn.wait(10) == -signal.SIGKILL


def test_a_run_on_another_machine_is_requested_by_its_file_and_named(
    tmp_path: Path, sleeper: subprocess.Popen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clinical_modernbert.launcher.runs.stopping.POLL_SECONDS", 0.2)
    write_launch(tmp_path / "run", process_of(sleeper.pid).model_copy(update={"host": "node7"}))
    with pytest.raises(UserError, match=r"still there after the request: local, process .* on node7"):
        stop(tmp_path / "run", "--seconds", "0.5")
    assert read_stop(tmp_path / "run")
    assert sleeper.poll() is None
    record_end(tmp_path / "run", "local", STOPPED)
    assert "nothing runs; stop requested at" in stop(tmp_path / "run")


def test_a_requested_stop_is_shown_until_a_person_starts_the_run_again(tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert run_and_record(run, "local", lambda: STOPPED) == STOPPED
    request_stop(run)
    first = read_stop(run)
    assert request_stop(run) == first, "the first request counts"
    assert "stopped by request" in read_status(run).state
    assert has_ended(read_status(run))
    with pytest.raises(UserError, match=r"stop requested at .* by .*cmbert train"):
        refuse_if_stopped(run)
    assert run_and_record(run, "local", lambda: 0) == 0
    refuse_if_stopped(run)


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"time": 3}', "null", '{"time": "a", "by": "b", "c": 1}'])
def test_a_damaged_request_is_a_request(tmp_path: Path, content: str) -> None:
    (tmp_path / STOP).write_text(content)
    with pytest.raises(UserError, match="cannot be read"):
        refuse_if_stopped(tmp_path)


def test_a_rewound_run_that_was_requested_to_stop_is_not_started_again(tmp_path: Path) -> None:
    starts = []

    def start() -> int:
        starts.append(1)
        request_stop(tmp_path)
        return REWOUND

    assert run_and_record(tmp_path, "local", start) == STOPPED
    assert len(starts) == 1


def test_a_launcher_that_fails_records_the_end(tmp_path: Path) -> None:
    def fail() -> int:
        raise UserError("ssh: cannot be started")

    with pytest.raises(UserError):
        run_and_record(tmp_path, "hostfile", fail)
    assert not open_launches(tmp_path)
    assert read_status(tmp_path).attempts[-1].code == USER_ERROR


def test_nothing_to_stop(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no run was started here"):
        stop(tmp_path)
    record_start(tmp_path, "local")
    record_end(tmp_path, "local", 0)
    assert "nothing runs" in stop(tmp_path)
    assert not (tmp_path / STOP).exists(), "a complete run would be shown as stopped"


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["local", "torchrun", "file"])
def test_training_stops_with_a_checkpoint_and_stays_stopped(
    new_run: Callable[[], SmallRun], repository: Path, launcher: str
) -> None:
    run = new_run()
    settings = [f"run_dir={run.run_dir}", f"data.path={run.data}", *LONG]
    options = [str(run.recipe), *(part for setting in settings for part in ("--set", setting))]
    entry = [str(repository / "launcher/train.py"), "--config", *options]
    torchrun = [str(Path(sys.executable).with_name("torchrun")), "--nproc-per-node", "2", "--master-port", "29771"]
    command = {"local": [*CMBERT, "train", *options, "--ranks", "2"], "torchrun": [*torchrun, *entry]}
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command.get(launcher, [sys.executable, *entry]), env=environment, cwd=repository.parent)
    wait_for(lambda: run.completed_steps() >= 3, 120)
    assert read_status(run.run_dir).state == "running"
    assert "this machine: process" in (read_status(run.run_dir).source or "")
    if launcher == "file":
        request_stop(run.run_dir)
    else:
        assert f"{run.run_dir}: stopped" in stop(run.run_dir, "--seconds", "60")
    process.wait(60)
    assert step_of(run.newest_checkpoint()) == run.completed_steps()
    assert "stopped by request" in read_status(run.run_dir).state
    again = subprocess.run([sys.executable, *entry], env=environment, capture_output=True, text=True)
    assert (again.returncode, "stop requested at" in again.stderr) == (USER_ERROR, True), again.stderr


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home whose profile provides `module`, which jobs of SlurmRun load."""
    (tmp_path / ".bash_profile").write_text("module() { :; }\n")
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.usefixtures("home")
def test_a_chain_of_slurm_jobs_stops(slurm_cluster: SlurmCluster, tmp_path: Path) -> None:
    """T9: the running job saves, no other job of the chain starts, and none is requeued."""
    run = SlurmRun(slurm_cluster, tmp_path / "chain")
    first = run.submit("--steps", 2000, jobs=3)
    run.await_attempts(1)
    status = read_status(run.run_dir)
    assert (status.state, status.active) == ("running", True)
    assert f"job {first} is RUNNING" in (status.source or "")
    assert "stopped" in stop(run.run_dir, "--seconds", "60")
    states = {job: slurm_cluster.state(job) for job in run.jobs}
    assert states == {first: "COMPLETED", run.jobs[1]: "CANCELLED", run.jobs[2]: "CANCELLED"}, run.log()
    assert run.outcomes() == [(85, "stopped on request")]
    assert list((run.run_dir / "checkpoints").iterdir())
    assert "stopped by request" in read_status(run.run_dir).state
    assert "nothing runs" in stop(run.run_dir)
    run.submit("--steps", 2000)  # as if a job came back
    assert run.ended(run.jobs[3])["JobState"] == "COMPLETED"
    assert len(run.attempts()) == 1
    assert "stopped by request" in run.log()


@pytest.mark.usefixtures("home")
def test_status_asks_slurm(slurm_cluster: SlurmCluster, tmp_path: Path) -> None:
    run = SlurmRun(slurm_cluster, tmp_path / "asked")
    job = run.submit("--steps", 2000, partition="debug", options=["--hold"])
    status = read_status(run.run_dir)
    assert (status.state, status.active) == ("waiting for SLURM", True)
    slurm_cluster.run("scontrol", "release", job)
    run.await_attempts(1)
    slurm_cluster.run("scancel", job)
    wait_for(lambda: not slurm_cluster.run("squeue", "-h", "-j", job), 60)
    # As if the node had been lost before its script recorded anything.
    started = [line for line in (run.run_dir / "launches.jsonl").read_text().splitlines() if "started" in line]
    for number, state, known in (
        (job, "cancelled", f"SLURM: job {job} is CANCELLED"),
        ("999999", "ended, cause unknown", "SLURM: no job 999999 any more"),
    ):
        (run.run_dir / "launches.jsonl").write_text(started[0].replace(f'"job": "{job}"', f'"job": "{number}"') + "\n")
        status = read_status(run.run_dir)
        assert (status.state, status.active) == (state, False)
        assert known in (status.source or "")
        assert has_ended(status)


KUBECTL = """#!/bin/sh
echo "$@" >> {directory}/calls
case "$1" in
get) cat {directory}/jobset ;;
delete) : > {directory}/jobset ;;
esac
"""


@pytest.fixture
def kubernetes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kubectl that knows one JobSet, that of the run /runs/base."""
    cluster = "ranks_per_node: 1\nkubernetes: {image: one, namespace: nlp, volumes: {runs: /runs}}\n"
    (tmp_path / "cluster.yaml").write_text(cluster)
    arguments = ["launch", "k8s", "base", "--cluster", str(tmp_path / "cluster.yaml"), "--set", "run_dir=/runs/base"]
    printed = CliRunner().invoke(app, [*arguments, "--dry-run"]).stdout

    (tmp_path / "jobset").write_text(json.dumps(yaml.safe_load(printed)))
    (tmp_path / "kubectl").write_text(KUBECTL.format(directory=tmp_path))
    (tmp_path / "kubectl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path


def test_a_job_set_is_deleted_if_it_is_that_of_the_run(kubernetes: Path) -> None:
    options = ["--cluster", str(kubernetes / "cluster.yaml")]
    with pytest.raises(UserError, match="cmbert-base is that of the run /runs/base, not of /others/base"):
        stop(Path("/others/base"), *options)
    assert "delete" not in (kubernetes / "calls").read_text()
    assert "JobSet nlp/cmbert-base is being deleted" in stop(Path("/runs/base"), *options)
    assert "delete jobset cmbert-base --namespace=nlp" in (kubernetes / "calls").read_text()
    assert "nothing runs: there is no JobSet nlp/cmbert-base" in stop(Path("/runs/base"), *options)


def test_the_train_job_that_made_a_job_set_is_deleted(kubernetes: Path) -> None:
    """Kubeflow would make a JobSet that is deleted alone again."""
    found = json.loads((kubernetes / "jobset").read_text())
    found["metadata"]["ownerReferences"] = [{"kind": "TrainJob", "name": "cmbert-base"}]
    (kubernetes / "jobset").write_text(json.dumps(found))
    assert "is being deleted" in stop(Path("/runs/base"), "--cluster", str(kubernetes / "cluster.yaml"))
    [deleted] = [call for call in (kubernetes / "calls").read_text().splitlines() if call.startswith("delete")]
    kinds, selector, namespace = deleted.split()[1:4]
    assert kinds == "trainjob,trainingruntime"
    assert selector == "--selector=app.kubernetes.io/instance=cmbert-base"
    assert namespace == "--namespace=nlp"


def test_a_run_whose_pods_wrote_its_launch_log_needs_no_cluster_file(kubernetes: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    record_start(run, "k8s", job="nlp/cmbert-base")
    assert (read_status(run).state, read_status(run).active) == ("running", True)
    assert "stopped" in stop(run)
    stop_request.clear_stop(run)
    record_start(run, "k8s", job="nlp/cmbert-base")
    status = read_status(run)
    assert (status.state, status.active) == ("ended, cause unknown", False)
    assert "no JobSet nlp/cmbert-base any more" in (status.source or "")
