"""The self-requeueing SLURM job on a real cluster: every way in which a job can end.

The ranks follow the protocol of training without training (`slurm_rank.py`); test_training.py trains. Jobs mostly wait,
so all scenarios run concurrently, and each test checks one of them.
"""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from slurm_cluster import SlurmCluster, kill_srun, wait_for
from slurm_job import RANK, SlurmRun

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.launcher.cluster.config import ClusterConfig
from clinical_modernbert.launcher.runs.launch_log import read_launches
from clinical_modernbert.launcher.runs.status import read_status
from clinical_modernbert.launcher.slurm.job import render_job

Scenario = Callable[[SlurmRun], None]


def passes_its_environment_unchanged(run: SlurmRun) -> None:
    values = {"COMMAS": "mlx5_0,mlx5_1", "SPACES": "AWS  Libfabric", "QUOTES": """it's "so" $HOME `x` \\n"""}
    script = (
        "import os, sys; seen = '|'.join(os.environ[name] for name in sys.argv[2:])\n"
        "open(f\"{sys.argv[1]}/seen{os.environ['SLURM_PROCID']}\", 'w').write(seen)\n"
        "open(os.environ['CMBERT_EXIT_FILE'], 'w').write('0')"
    )
    names = [*values, "MODULE", "RUN_PASSWORD", "MASTER_ADDR", "NCCL_IB_DISABLE", "CUDA_VISIBLE_DEVICES"]
    command = [sys.executable, "-c", script, str(run.run_dir), *names]
    info = run.ended(run.submit_command(command, env=values, pass_env=("RUN_PASSWORD",)))
    assert info["JobState"] == "COMPLETED", run.log()
    seen = [(run.run_dir / f"seen{rank}").read_text().split("|") for rank in range(4)]
    expected = [*values.values(), "cuda/12.8", "secret, value", "127.0.0.1", "1"]
    assert [words[:-1] for words in seen] == [expected] * 4
    # Which GPUs these are depends on other jobs of the node; each rank sees the GPUs of all ranks on its node.
    assert [len(words[-1].split(",")) for words in seen] == [2] * 4
    assert "secret, value" not in run.script.read_text() + run.log() + str(info)
    assert run.outcomes() == [(0, "complete")]


def saves_on_request_and_continues_after_requeueing(run: SlurmRun) -> None:
    job = run.submit("--steps", 60)
    run.await_attempts(1)
    run.request_stop()
    assert run.ended(job)["Restarts"] == "1"
    (_, first, _), (name, second, _) = run.attempts()
    assert first == 0 < second < 60
    assert name.startswith(f"{job}.1.")
    assert run.outcomes() == [(85, "stopped on request"), (0, "complete")]


def repeats_the_request_while_ranks_are_starting(run: SlurmRun) -> None:
    slow = f"import sys, time; time.sleep(4); sys.argv = sys.argv[1:]; exec(open({str(RANK)!r}).read())"
    run.submit_command([sys.executable, "-c", slow, "rank", str(run.run_dir), "--steps", "400"])
    wait_for(lambda: "started" in str(read_launches(run.run_dir)), 30)
    run.request_stop()
    wait_for(run.outcomes, 40)
    assert run.outcomes()[0] == (85, "stopped on request"), run.log()


def slow_first_preflight(run: SlurmRun, seconds: int) -> str:
    """Return a preflight that is slow, but only in the first start of the job."""
    return f'[ -n "$SLURM_RESTART_COUNT" ] || {{ touch {shlex.quote(str(preflight_marker(run)))}; sleep {seconds}; }}'


def preflight_marker(run: SlurmRun) -> Path:
    return run.run_dir / "preflight"


def is_requeued_when_stopped_during_its_preflight(run: SlurmRun) -> None:
    job = run.submit(preflight=slow_first_preflight(run, seconds=4), max_failures=1)
    wait_for(preflight_marker(run).exists, 60)
    run.request_stop()
    info = run.ended(job)
    assert (info["JobState"], info["Restarts"]) == ("COMPLETED", "1"), run.log()
    assert run.outcomes() == [(0, "complete")]


def stays_cancelled_after_its_ranks_saved(run: SlurmRun) -> None:
    job = run.submit("--steps", 1000)
    run.await_attempts(1)
    time.sleep(0.5)
    run.slurm.run("scancel", job)
    assert run.ended(job)["JobState"] == "CANCELLED"
    wait_for(lambda: not run.slurm.run("squeue", "-h", "-j", job), 30)
    assert list((run.run_dir / "checkpoints").iterdir())
    ((code, _),) = run.outcomes()
    assert code == 85
    # The script may end while SLURM only says that the job is completing; later, SLURM says why.
    assert "cancelled" in read_status(run.run_dir).state
    assert run.slurm.state(job) == "CANCELLED"


def continues_after_every_preemption(run: SlurmRun) -> None:
    """Preempted during its preflight, then while ranks start, then during training."""

    def preempt() -> None:
        wide = ("-phigh", "-N2", "--exclusive", "-o/dev/null", "--wrap", "sleep 0.5")
        run.slurm.await_state(run.slurm.run("sbatch", "--parsable", *wide).strip(), "COMPLETED")

    slow = (
        "import os, sys, time; sys.argv = sys.argv[1:]\n"
        "time.sleep(10 * (os.environ.get('SLURM_RESTART_COUNT') == '1'))\n"
        f"exec(open({str(RANK)!r}).read())"
    )
    command = [sys.executable, "-c", slow, "rank", str(run.run_dir), "--steps", "60"]
    job = run.submit_command(command, partition="low", preflight=slow_first_preflight(run, seconds=20), max_failures=1)
    wait_for(preflight_marker(run).exists, 60)
    preempt()
    wait_for(lambda: "started" in str(read_launches(run.run_dir)), 90)
    time.sleep(1)
    preempt()
    run.await_attempts(1)
    time.sleep(0.5)
    preempt()
    info = run.ended(job)
    assert (info["JobState"], info["Restarts"]) == ("COMPLETED", "3"), run.log()
    assert [step > 0 for _, step, _ in run.attempts()] == [False, True]
    assert [reason for _, reason in run.outcomes()] == ["preempted", "preempted", "complete"]


def restarts_immediately_after_a_crash(run: SlurmRun) -> None:
    assert run.ended(run.submit("--crash-at", 5, "--every", 2))["Restarts"] == "0"
    assert [step for _, step, _ in run.attempts()] == [0, 4]
    assert run.outcomes() == [(3, "crashed"), (0, "complete")]


def gives_up_with_its_chain_after_crashes_without_progress(run: SlurmRun) -> None:
    info = run.ended(run.submit("--crash-at", 5, "--every", 2, "--always", jobs=2))
    assert (info["JobState"], info["ExitCode"]) == ("FAILED", "3:0")
    assert [step for _, step, _ in run.attempts()] == [0, 4, 4]
    assert "gave up: 3 crashes without a new checkpoint" in run.log()
    assert run.ended(run.jobs[1])["JobState"] == "COMPLETED"
    assert len(run.attempts()) == 3


def waits_for_the_ranks_of_a_killed_srun_to_save(run: SlurmRun) -> None:
    """SLURM lets them run on. A second start beside them would find their GPUs occupied."""
    job = run.submit("--steps", 300)
    run.await_attempts(1)
    kill_srun(run.slurm.run_by(job))
    info = run.ended(job)
    assert (info["JobState"], info["Restarts"]) == ("COMPLETED", "1"), run.log()
    assert run.outcomes() == [(85, "stopped on request"), (0, "complete")]
    (_, first, _), (_, second, _) = run.attempts()
    assert first == 0 < second, run.log()


def does_not_retry_a_configuration_error(run: SlurmRun) -> None:
    assert run.ended(run.submit("--crash-at", 2, "--code", 2))["ExitCode"] == "2:0"
    assert len(run.attempts()) == 1


def restarts_immediately_after_a_rewind_without_counting_a_crash(run: SlurmRun) -> None:
    info = run.ended(run.submit("--crash-at", 5, "--every", 2, "--code", 86, max_failures=1))
    assert info["JobState"] == "COMPLETED", run.log()
    assert [code for code, _ in run.outcomes()] == [86, 0]


def waits_for_a_number_of_nodes_that_fits_the_run(run: SlurmRun) -> None:
    info = run.ended(run.submit("--crash-at", 2, "--code", 87, max_failures=1))
    assert (info["JobState"], info["Restarts"]) == ("COMPLETED", "1"), run.log()
    assert run.outcomes() == [(87, "waiting for a number of ranks that fits the run"), (0, "complete")]
    assert "the run does not fit 2 nodes (see above); waiting for another number of nodes" in run.log()


def replaces_a_node_by_a_spare_in_place(run: SlurmRun) -> None:
    """The first node, which runs the script too, loses a GPU: a rank crashes, and then the preflight fails."""
    first, second, spare = run.slurm.names[:3]
    preflight = f'[ ! -e {shlex.quote(str(run.run_dir))}/crashed ] || [ "$SLURMD_NODENAME" != {first} ]'
    held = [f"--nodelist={first},{second},{spare}"]
    job = run.submit("--crash-at", 5, "--every", 2, preflight=preflight, spare_nodes=1, max_excluded=0, options=held)
    info = run.ended(job)
    assert (info["JobState"], info["Restarts"]) == ("COMPLETED", "0"), run.log()
    seen = [(name.split(".")[0], step, run.slurm.hosts(nodes)) for name, step, nodes in run.attempts()]
    assert seen == [(job, 0, [first, second]), (job, 4, [second, spare])], run.log()
    assert run.outcomes() == [(3, "crashed"), (0, "complete")]
    assert f"continuing in this job without: {first}" in run.log()
    nodes = [run.slurm.hosts(line["nodes"]) for line in read_launches(run.run_dir) if line["event"] == "started"]
    assert nodes == [[first, second], [second, spare]]


def leaves_out_a_node_that_does_not_exchange(run: SlurmRun) -> None:
    """It passes the preflight by itself, but its Python waits forever when it sends to another node."""
    first, second, spare = run.slurm.names[:3]
    patch = f"""import os, sys
if "doctor" in sys.orig_argv:
    os._exit(0)
if {second!r} == os.environ.get("SLURMD_NODENAME") and "network_check" in str(sys.orig_argv):
    import time
    import torch.distributed as dist
    dist.send = dist.recv = lambda *_: time.sleep(600)
"""
    (run.run_dir / "sitecustomize.py").write_text(patch)
    path = os.pathsep.join([str(run.run_dir), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    command = [sys.executable, str(RANK), str(run.run_dir)]
    held = [f"--nodelist={first},{second},{spare}"]
    job = run.submit_command(command, env=environment, preflight="doctor", spare_nodes=1, max_excluded=0, options=held)
    wait_for(lambda: f"no exchange with {second}" in run.log(), 200)
    info = run.ended(job)
    assert (info["JobState"], info["Restarts"]) == ("COMPLETED", "0"), run.log()
    assert [run.slurm.hosts(nodes) for _, _, nodes in run.attempts()] == [[first, spare]], run.log()
    assert f"continuing in this job without: {second}" in run.log()


def continues_in_place_on_fewer_nodes(run: SlurmRun) -> None:
    first, second = run.slurm.names[:2]
    preflight = f'test "$SLURMD_NODENAME" != {first}'
    job = run.submit(nodes="1-2", preflight=preflight, options=[f"--nodelist={first},{second}"])
    info = run.ended(job)
    assert (info["JobState"], info["Restarts"]) == ("COMPLETED", "0"), run.log()
    assert [run.slurm.hosts(nodes) for _, _, nodes in run.attempts()] == [[second]], run.log()


def takes_a_mistake_that_no_rank_reported_for_a_crash(run: SlurmRun) -> None:
    info = run.ended(run.submit_command([sys.executable, "/no/such/file.py"], max_failures=2))
    assert (info["JobState"], info["ExitCode"]) == ("FAILED", "1:0"), run.log()
    assert run.outcomes() == [(1, "crashed: no rank wrote an exit code")] * 2


def hands_over_to_the_next_job_of_its_chain(run: SlurmRun) -> None:
    first = run.submit("--steps", 60, jobs=2)
    run.await_attempts(1)
    assert run.slurm.state(run.jobs[1]) == "PENDING"
    run.request_stop()
    assert run.ended(run.jobs[1])["JobState"] == "COMPLETED"
    assert run.slurm.job_info(first)["Restarts"] == "0"
    assert [name.split(".")[0] for name, _, _ in run.attempts()] == run.jobs
    assert run.attempts()[1][1] > 0


def continues_without_a_node_that_fails_the_preflight(run: SlurmRun) -> None:
    job = run.submit(preflight=f'echo checking; test "$SLURMD_NODENAME" != {run.slurm.names[1]}')
    assert run.ended(job)["ExitCode"] == "90:0", run.log()
    assert "checking" in run.log()
    wait_for(run.attempts, 60)
    ((name, _, nodes),) = run.attempts()
    assert run.slurm.hosts(nodes) == [run.slurm.names[0], run.slurm.names[2]]
    assert name.split(".")[0] in run.log().partition("Submitted batch job ")[2].split()[:1]


def excludes_a_bad_node_from_the_rest_of_its_chain(run: SlurmRun) -> None:
    bad = run.slurm.names[0]
    preflight = f'test "$SLURMD_NODENAME" != {bad}'
    first = run.submit(preflight=preflight, options=[f"--nodelist={bad}"])
    run.submit(preflight=preflight)
    assert run.ended(first)["ExitCode"] == "90:0", run.log()
    assert run.ended(run.jobs[1])["JobState"] == "COMPLETED", run.log()
    assert bad not in run.slurm.hosts(run.slurm.job_info(run.jobs[1])["NodeList"])
    assert "Submitted batch job" not in run.log()


def stops_when_too_many_nodes_fail_the_preflight(run: SlurmRun) -> None:
    name = run.slurm.names[1]
    preflight = f'test "$SLURMD_NODENAME" != {name} || {{ trap "" TERM; sleep 60; sleep 60; }}'
    job = run.submit(preflight=preflight, max_excluded=0, preflight_seconds=2, options=[f"--nodelist={name}"])
    assert run.ended(job)["ExitCode"] == "90:0"
    assert (run.launch / "over").read_text() == f"preflight failed on {name}\n"
    assert not run.attempts()


def stops_when_every_node_fails_the_preflight(run: SlurmRun) -> None:
    assert run.ended(run.submit(preflight="false"))["ExitCode"] == "90:0"
    assert (run.launch / "over").read_text() == "preflight failed on every node, so the cause is not a single node\n"


def continues_elsewhere_while_a_lost_node_still_runs_it(run: SlurmRun) -> None:
    """All nodes of the partition are held, one as a spare. Without the lost node there is none; none is waited for."""
    job = run.submit("--steps", 160, "--every", 10, partition="lossy", spare_nodes=1)
    run.await_attempts(1)
    wait_for(lambda: (run.run_dir / "checkpoints/step00000010").exists(), 30)
    lost = run.slurm.job_info(job)["BatchHost"]
    daemon = run.slurm.daemon_of(lost)
    os.kill(daemon, signal.SIGSTOP)  # as if its network were down: its ranks and the script keep running
    try:
        run.slurm.run("scontrol", "update", f"node={lost}", "state=down", "reason=lost")
        run.await_attempts(2)
        assert len(run.slurm.processes(lost)) > 4
        info = run.ended(job)
    finally:
        os.kill(daemon, signal.SIGCONT)
        run.slurm.run("scontrol", "update", f"node={lost}", "state=resume")
    assert (info["JobState"], info["Restarts"]) == ("COMPLETED", "1"), run.log()
    assert lost not in run.slurm.hosts(info["NodeList"])
    assert run.attempts()[1][1] >= 10
    assert [len(run.slurm.hosts(nodes)) for _, _, nodes in run.attempts()] == [2, 2]


SCENARIOS: list[Scenario] = [
    continues_elsewhere_while_a_lost_node_still_runs_it,
    continues_after_every_preemption,
    saves_on_request_and_continues_after_requeueing,
    repeats_the_request_while_ranks_are_starting,
    is_requeued_when_stopped_during_its_preflight,
    hands_over_to_the_next_job_of_its_chain,
    gives_up_with_its_chain_after_crashes_without_progress,
    continues_without_a_node_that_fails_the_preflight,
    excludes_a_bad_node_from_the_rest_of_its_chain,
    stops_when_too_many_nodes_fail_the_preflight,
    passes_its_environment_unchanged,
    stays_cancelled_after_its_ranks_saved,
    restarts_immediately_after_a_crash,
    waits_for_the_ranks_of_a_killed_srun_to_save,
    does_not_retry_a_configuration_error,
    waits_for_a_number_of_nodes_that_fits_the_run,
    replaces_a_node_by_a_spare_in_place,
    leaves_out_a_node_that_does_not_exchange,
    continues_in_place_on_fewer_nodes,
    takes_a_mistake_that_no_rank_reported_for_a_crash,
    restarts_immediately_after_a_rewind_without_counting_a_crash,
    stops_when_every_node_fails_the_preflight,
]


@pytest.fixture(scope="module")
def outcomes(
    request: pytest.FixtureRequest, slurm_cluster: SlurmCluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future]]:
    selected = [
        item.callspec.params["scenario"]
        for item in request.session.items
        if item.path == request.path and hasattr(item, "callspec") and "scenario" in item.callspec.params
    ]
    directory = tmp_path_factory.mktemp("slurm")
    (directory / ".bash_profile").write_text('module() { export MODULE="$2"; }\n')
    with pytest.MonkeyPatch.context() as patched, ThreadPoolExecutor(7) as pool:
        patched.setenv("RUN_PASSWORD", "secret, value")
        patched.setenv("HOME", str(directory))
        yield {
            one.__name__: pool.submit(one, SlurmRun(slurm_cluster, directory / f"50%j {one.__name__}"))
            for one in selected
        }
        slurm_cluster.run("scancel", f"--user={os.getuid()}")


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_a_job(scenario: Scenario, outcomes: dict[str, Future]) -> None:
    outcomes[scenario.__name__].result()


def test_a_missing_variable_is_reported_before_submission(slurm_cluster: SlurmCluster, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="MISSING_VARIABLE, not set in your environment"):
        SlurmRun(slurm_cluster, tmp_path / "run").submit_command(["true"], pass_env=("MISSING_VARIABLE",))


_SCRIPTS: dict[str, dict[str, object]] = {
    "plain": {},
    "options": {
        "options": ("-C haswell", "--comment=two words # here"),
        "srun_options": ("--mpi=pmix", "-c 'two words'"),
    },
    "spare": {"spare_nodes": 2, "cpus_per_rank": 3},
    "pyxis": {"container": "registry#image:1", "container_mounts": ("/data:/data:ro", "/a b")},
    "apptainer": {"container": "/images/a b.sif", "container_mounts": ("/data",), "container_runtime": "apptainer"},
}


@pytest.mark.parametrize("name", _SCRIPTS)
def test_the_script_is_valid_for_any_values(name: str, tmp_path: Path) -> None:
    script = _script(name, tmp_path)
    assert not subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=True).stderr


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_has_no_complaint(tmp_path: Path) -> None:
    """Its notes of lower severity are about words that are meant to be split, and quotes that another shell expands."""
    for name in _SCRIPTS:
        script = _script(name, tmp_path)
        found = subprocess.run(
            ["shellcheck", "--shell=bash", "--severity=warning", "-"], input=script, text=True, capture_output=True
        )
        assert found.returncode == 0, f"{name}: {found.stdout}"


def test_ranks_and_preflight_run_in_the_container(tmp_path: Path) -> None:
    """pyxis is asked for by options of srun; Apptainer is a command that starts the rank's."""
    read = 'printf "%s\\n" "${command[@]}" "--" "${srun_options[@]}" "--" "$preflight"'
    seen = {}
    for name in _SCRIPTS:
        settings = _script(name, tmp_path).partition("\nset_up() {")[0]
        shell = subprocess.run(["bash", "-c", f"{settings}\n{read}"], text=True, capture_output=True, check=True)
        lines = shell.stdout.splitlines()
        second, third = (number for number, line in enumerate(lines) if line == "--")
        seen[name] = [lines[:second], lines[second + 1 : third], lines[third + 1 :]]
    command = ["python", "-c", "print('x')"]
    assert seen["plain"][0] == seen["pyxis"][0] == command
    assert seen["pyxis"][1] == ["--container-image=registry#image:1", "--container-mounts=/data:/data:ro,/a b"]
    assert seen["options"][1] == ["--mpi=pmix", "-c", "two words"]
    prefix = ["apptainer", "exec", "--nv", "--bind=/data", "/images/a b.sif"]
    assert seen["apptainer"][0] == [*prefix, *command]
    assert seen["apptainer"][2][0].startswith("apptainer exec --nv --bind=/data '/images/a b.sif' python -m")


_SRUN = """#!/bin/bash
# n2 is dead, and nobody knows it yet. When srun cannot start its task there, it ends the step on all other nodes.
for word; do case $word in --nodelist=*) nodes=${word#*=};; esac; done
case "$*" in
    *" rank "*) echo "$nodes" >> "$SEEN"; echo 0 > "$CMBERT_EXIT_FILE" ;;
    *) case $nodes in n[13]) echo "0: passed $nodes";; n1,n2,n3) echo "0: passed n1"; exit 1;; *) exit 1;; esac ;;
esac
"""
_SCONTROL = """#!/bin/bash
case "$*" in
    *hostnames*) printf '%s\\n' n1 n2 n3;;
    *hostlist*) echo "${!#}";;
    *"show job"*) echo " JobState=RUNNING  Restarts=0 ";;
    *"show node"*) echo " NodeAddr=address-of-${!#} ";;
esac
"""


def test_a_dead_node_does_not_hide_that_others_pass_the_preflight(tmp_path: Path) -> None:
    """SLURM notices a dead node after minutes; until then a step that includes it fails on all nodes."""
    programs = {"srun": _SRUN, "scontrol": _SCONTROL, "squeue": "#!/bin/bash\n", "sbatch": '#!/bin/bash\necho "$@"\n'}
    (tmp_path / "bin").mkdir()
    for name, text in programs.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "SEEN": f"{tmp_path}/seen", "HOME": str(tmp_path)}
    job = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n[1-3]", "SLURM_JOB_NAME": "x"}
    for nodes, spare, code, seen in ((2, 1, 0, "n1,n3\n"), ("1-3", 0, 0, "n1,n3\n"), (3, 0, 90, None)):
        launch = tmp_path / f"launch {nodes}"
        launch.mkdir()
        settings = {"preflight": "true", "spare_nodes": spare}
        cluster = ClusterConfig.model_validate({"nodes": nodes, "ranks_per_node": 8, "slurm": settings})
        script = render_job(launch, tmp_path, cluster, ["true"])
        done = subprocess.run(
            ["bash"], input=script, text=True, capture_output=True, env={**environment, **job}, timeout=60
        )
        assert done.returncode == code, done.stdout + done.stderr
        ran = tmp_path / "seen"
        assert (ran.read_text() if ran.exists() else None) == seen, done.stdout + done.stderr
        ran.unlink(missing_ok=True)
        if code:
            assert f"--exclude=n2 {launch}/job.sbatch" in done.stdout


@pytest.mark.parametrize(
    ("nodes", "slurm", "expected"),
    [
        (4, {}, ["--nodes=4", "--ntasks-per-node=8"]),
        (4, {"cpus_per_rank": 3}, ["--nodes=4", "--ntasks-per-node=8", "--cpus-per-task=3"]),
        ("4-4", {"spare_nodes": 1}, ["--nodes=4-5", "--mincpus=8"]),
        ("4-8", {"spare_nodes": 1, "cpus_per_rank": 3}, ["--nodes=4-9", "--mincpus=24"]),
    ],
)
def test_a_job_asks_for_its_range_of_nodes(
    nodes: int | str, slurm: dict[str, int], expected: list[str], tmp_path: Path
) -> None:
    cluster = ClusterConfig.model_validate({"nodes": nodes, "ranks_per_node": 8, "slurm": slurm})
    lines = render_job(tmp_path, tmp_path, cluster, ["true"]).splitlines()
    options = [line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH")]
    assert [one for one in options if one.startswith(("--nodes", "--ntasks", "--cpus", "--mincpus"))] == expected


def _script(name: str, directory: Path) -> str:
    cluster = ClusterConfig.model_validate(
        {"ranks_per_node": 8, "setup": ("module load 'a b'",), "env": {"A": "it's"}, "slurm": _SCRIPTS[name]}
    )
    return render_job(directory / "it's", directory, cluster, ["python", "-c", "print('x')"])
