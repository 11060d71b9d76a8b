"""The SLURM job that looks after itself, on a real cluster: each of the ways in which a job ends.

The ranks keep training's protocol without training (`slurm_rank.py`); test_training.py trains. A job mostly
waits, so all of them run at once, and each test looks at one.
"""

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from slurm_cluster import SlurmCluster, wait_for
from slurm_job import RANK, SlurmRun

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.launcher.cluster.config import ClusterConfig
from clinical_modernbert.launcher.runs.launch_log import read_launches
from clinical_modernbert.launcher.slurm.job import render_job

ENDED_BY_SLURM = "ended by SLURM: cancelled, preempted, out of time, or a node lost"

Scenario = Callable[[SlurmRun], None]


def completes_with_its_environment_whole(run: SlurmRun) -> None:
    values = {"COMMAS": "mlx5_0,mlx5_1", "SPACES": "AWS  Libfabric", "QUOTES": """it's "so" $HOME `x` \\n"""}
    show = (
        "import os, sys; seen = '|'.join(os.environ[name] for name in sys.argv[2:])\n"
        "open(f\"{sys.argv[1]}/seen{os.environ['SLURM_PROCID']}\", 'w').write(seen)\n"
        "open(os.environ['CMBERT_EXIT_FILE'], 'w').write('0')"
    )
    names = [*values, "MODULE", "RUN_PASSWORD", "MASTER_ADDR", "NCCL_IB_DISABLE", "CUDA_VISIBLE_DEVICES"]
    command = [sys.executable, "-c", show, str(run.run_dir), *names]
    facts = run.ended(run.submit_command(command, env=values, pass_env=("RUN_PASSWORD",)))
    assert facts["JobState"] == "COMPLETED", run.log()
    seen = [(run.run_dir / f"seen{rank}").read_text().split("|") for rank in range(4)]
    expected = [*values.values(), "cuda/12.8", "hush, hush", "127.0.0.1", "1"]
    assert [words[:-1] for words in seen] == [expected] * 4
    # which of a node's GPUs depends on what else runs there; each rank sees those of all ranks of its node
    assert [len(words[-1].split(",")) for words in seen] == [2] * 4
    assert "hush" not in run.script.read_text() + run.log() + str(facts)
    assert run.ends() == [(0, "complete")]


def saves_when_asked_and_goes_on_from_the_queue(run: SlurmRun) -> None:
    job = run.submit("--steps", 60)
    run.await_starts(1)
    run.ask_to_stop()
    assert run.ended(job)["Restarts"] == "1"
    (_, first, _), (name, second, _) = run.starts()
    assert first == 0 < second < 60
    assert name.startswith(f"{job}.1.")
    assert run.ends() == [(85, "stopped as asked"), (0, "complete")]


def asks_ranks_again_that_could_not_hear_yet(run: SlurmRun) -> None:
    slow = f"import sys, time; time.sleep(4); sys.argv = sys.argv[1:]; exec(open({str(RANK)!r}).read())"
    run.submit_command([sys.executable, "-c", slow, "rank", str(run.run_dir), "--steps", "400"])
    wait_for(lambda: "started" in str(read_launches(run.run_dir)), 30)
    run.ask_to_stop()
    wait_for(run.ends, 40)
    assert run.ends()[0] == (85, "stopped as asked"), run.log()


def first_preflight(run: SlurmRun, seconds: int) -> str:
    """A long one, at the job's first start alone."""
    return f'[ -n "$SLURM_RESTART_COUNT" ] || {{ touch {shlex.quote(str(checked(run)))}; sleep {seconds}; }}'


def checked(run: SlurmRun) -> Path:
    return run.run_dir / "checked"


def goes_back_to_the_queue_when_asked_during_its_preflight(run: SlurmRun) -> None:
    job = run.submit(preflight=first_preflight(run, seconds=4), max_failures=1)
    wait_for(checked(run).exists, 60)
    run.ask_to_stop()
    facts = run.ended(job)
    assert (facts["JobState"], facts["Restarts"]) == ("COMPLETED", "1"), run.log()
    assert run.ends() == [(0, "complete")]


def stays_cancelled_although_its_ranks_saved(run: SlurmRun) -> None:
    job = run.submit("--steps", 1000)
    run.await_starts(1)
    time.sleep(0.5)
    run.slurm.run("scancel", job)
    assert run.ended(job)["JobState"] == "CANCELLED"
    wait_for(lambda: not run.slurm.run("squeue", "-h", "-j", job), 30)
    assert list((run.run_dir / "checkpoints").iterdir())
    assert run.ends() == [(85, ENDED_BY_SLURM)]
    assert run.slurm.state(job) == "CANCELLED"


def makes_room_whenever_it_is_preempted_and_goes_on_afterwards(run: SlurmRun) -> None:
    """During its preflight, then while its ranks start, then in the middle of training."""

    def preempt() -> None:
        wide = ("-phigh", "-N2", "--exclusive", "-o/dev/null", "--wrap", "sleep 0.5")
        run.slurm.await_state(run.slurm.run("sbatch", "--parsable", *wide).strip(), "COMPLETED")

    slow = (
        "import os, sys, time; sys.argv = sys.argv[1:]\n"
        "time.sleep(10 * (os.environ.get('SLURM_RESTART_COUNT') == '1'))\n"
        f"exec(open({str(RANK)!r}).read())"
    )
    command = [sys.executable, "-c", slow, "rank", str(run.run_dir), "--steps", "60"]
    job = run.submit_command(command, partition="low", preflight=first_preflight(run, seconds=20), max_failures=1)
    wait_for(checked(run).exists, 60)
    preempt()
    wait_for(lambda: "started" in str(read_launches(run.run_dir)), 90)
    time.sleep(1)
    preempt()
    run.await_starts(1)
    time.sleep(0.5)
    preempt()
    facts = run.ended(job)
    assert (facts["JobState"], facts["Restarts"]) == ("COMPLETED", "3"), run.log()
    assert [step > 0 for _, step, _ in run.starts()] == [False, True]
    assert [reason for _, reason in run.ends()] == ["preempted", "preempted", "complete"]


def starts_again_at_once_after_a_crash(run: SlurmRun) -> None:
    assert run.ended(run.submit("--crash-at", 5, "--every", 2))["Restarts"] == "0"
    assert [step for _, step, _ in run.starts()] == [0, 4]
    assert run.ends() == [(3, "crashed"), (0, "complete")]


def gives_up_after_crashes_without_progress_and_so_does_its_chain(run: SlurmRun) -> None:
    facts = run.ended(run.submit("--crash-at", 5, "--every", 2, "--always", jobs=2))
    assert (facts["JobState"], facts["ExitCode"]) == ("FAILED", "3:0")
    assert [step for _, step, _ in run.starts()] == [0, 4, 4]
    assert "gave up: 3 crashes without a new checkpoint" in run.log()
    assert run.ended(run.jobs[1])["JobState"] == "COMPLETED"
    assert len(run.starts()) == 3


def does_not_try_a_mistake_in_the_settings_again(run: SlurmRun) -> None:
    assert run.ended(run.submit("--crash-at", 2, "--code", 2))["ExitCode"] == "2:0"
    assert len(run.starts()) == 1


def starts_again_at_once_after_a_rewind_which_is_no_crash(run: SlurmRun) -> None:
    facts = run.ended(run.submit("--crash-at", 5, "--every", 2, "--code", 86, max_failures=1))
    assert facts["JobState"] == "COMPLETED", run.log()
    assert [code for code, _ in run.ends()] == [86, 0]


def leaves_the_rest_to_the_next_job_of_its_chain(run: SlurmRun) -> None:
    first = run.submit("--steps", 60, jobs=2)
    run.await_starts(1)
    assert run.slurm.state(run.jobs[1]) == "PENDING"
    run.ask_to_stop()
    assert run.ended(run.jobs[1])["JobState"] == "COMPLETED"
    assert run.slurm.facts(first)["Restarts"] == "0"
    assert [name.split(".")[0] for name, _, _ in run.starts()] == run.jobs
    assert run.starts()[1][1] > 0


def goes_on_without_a_node_that_fails_the_preflight(run: SlurmRun) -> None:
    job = run.submit(preflight=f'echo looking; test "$SLURMD_NODENAME" != {run.slurm.names[1]}')
    assert run.ended(job)["ExitCode"] == "90:0", run.log()
    assert "looking" in run.log()
    wait_for(run.starts, 60)
    ((name, _, nodes),) = run.starts()
    assert run.slurm.hosts(nodes) == [run.slurm.names[0], run.slurm.names[2]]
    assert name.split(".")[0] in run.log().partition("Submitted batch job ")[2].split()[:1]


def leaves_a_bad_node_out_of_the_rest_of_its_chain(run: SlurmRun) -> None:
    bad = run.slurm.names[0]
    preflight = f'test "$SLURMD_NODENAME" != {bad}'
    first = run.submit(preflight=preflight, options=[f"--nodelist={bad}"])
    run.submit(preflight=preflight)
    assert run.ended(first)["ExitCode"] == "90:0", run.log()
    assert run.ended(run.jobs[1])["JobState"] == "COMPLETED", run.log()
    assert bad not in run.slurm.hosts(run.slurm.facts(run.jobs[1])["NodeList"])
    assert "Submitted batch job" not in run.log()


def stops_with_the_name_of_a_node_that_fails_once_too_often(run: SlurmRun) -> None:
    name = run.slurm.names[1]
    preflight = f'test "$SLURMD_NODENAME" != {name} || {{ trap "" TERM; sleep 60; sleep 60; }}'
    job = run.submit(preflight=preflight, max_excluded=0, preflight_seconds=2, options=[f"--nodelist={name}"])
    assert run.ended(job)["ExitCode"] == "90:0"
    assert (run.launch / "over").read_text() == f"preflight failed on {name}\n"
    assert not run.starts()


def stops_when_every_node_fails_the_preflight(run: SlurmRun) -> None:
    assert run.ended(run.submit(preflight="false"))["ExitCode"] == "90:0"
    assert (run.launch / "over").read_text() == "preflight failed on every node, so it is no node's fault\n"


def goes_on_elsewhere_while_a_lost_node_still_runs_it(run: SlurmRun) -> None:
    job = run.submit("--steps", 160, "--every", 10, partition="lossy")
    run.await_starts(1)
    wait_for(lambda: (run.run_dir / "checkpoints/step00000010").exists(), 30)
    lost = run.slurm.facts(job)["BatchHost"]
    daemon = run.slurm.daemon_of(lost)
    os.kill(daemon, signal.SIGSTOP)  # as if the network to it were cut: its ranks and the script live on
    try:
        run.slurm.run("scontrol", "update", f"node={lost}", "state=down", "reason=lost")
        run.await_starts(2)
        assert len(run.slurm.processes(lost)) > 4
        facts = run.ended(job)
    finally:
        os.kill(daemon, signal.SIGCONT)
        run.slurm.run("scontrol", "update", f"node={lost}", "state=resume")
    assert (facts["JobState"], facts["Restarts"]) == ("COMPLETED", "1"), run.log()
    assert lost not in run.slurm.hosts(facts["NodeList"])
    assert run.starts()[1][1] >= 10


SCENARIOS: list[Scenario] = [
    goes_on_elsewhere_while_a_lost_node_still_runs_it,
    makes_room_whenever_it_is_preempted_and_goes_on_afterwards,
    saves_when_asked_and_goes_on_from_the_queue,
    asks_ranks_again_that_could_not_hear_yet,
    goes_back_to_the_queue_when_asked_during_its_preflight,
    leaves_the_rest_to_the_next_job_of_its_chain,
    gives_up_after_crashes_without_progress_and_so_does_its_chain,
    goes_on_without_a_node_that_fails_the_preflight,
    leaves_a_bad_node_out_of_the_rest_of_its_chain,
    stops_with_the_name_of_a_node_that_fails_once_too_often,
    completes_with_its_environment_whole,
    stays_cancelled_although_its_ranks_saved,
    starts_again_at_once_after_a_crash,
    does_not_try_a_mistake_in_the_settings_again,
    starts_again_at_once_after_a_rewind_which_is_no_crash,
    stops_when_every_node_fails_the_preflight,
]


@pytest.fixture(scope="module")
def outcomes(
    request: pytest.FixtureRequest, slurm_cluster: SlurmCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future]]:
    chosen = [
        item.callspec.params["scenario"]
        for item in request.session.items
        if item.fspath == request.fspath and hasattr(item, "callspec") and "scenario" in item.callspec.params
    ]
    directory = tmp_path_factory.mktemp("slurm")
    (directory / ".bash_profile").write_text('module() { export MODULE="$2"; }\n')
    with pytest.MonkeyPatch.context() as patched, ThreadPoolExecutor(7) as pool:
        patched.setenv("RUN_PASSWORD", "hush, hush")
        patched.setenv("HOME", str(directory))
        yield {
            one.__name__: pool.submit(one, SlurmRun(slurm_cluster, directory / f"50%j {one.__name__}"))
            for one in chosen
        }
        slurm_cluster.run("scancel", f"--user={os.getuid()}")


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_a_job(scenario: Scenario, outcomes: dict[str, Future]) -> None:
    outcomes[scenario.__name__].result()


def test_a_variable_that_is_not_there_is_told_before_submitting(slurm_cluster: SlurmCluster, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="NOT_THERE, not set in your environment"):
        SlurmRun(slurm_cluster, tmp_path / "run").submit_command(["true"], pass_env=("NOT_THERE",))


def test_the_script_is_bash_whatever_it_is_given(tmp_path: Path) -> None:
    cluster = ClusterConfig(ranks_per_node=8, setup=("module load 'a b'",), env={"A": "it's"})
    script = render_job(tmp_path / "it's", tmp_path, cluster, ["python", "-c", "print('x')"])
    assert not subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=True).stderr
