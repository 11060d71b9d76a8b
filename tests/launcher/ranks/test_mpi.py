"""Ranks of a real mpirun: their place, the signals that reach them, exit codes, and the end of their launcher."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from marked import MARK, await_end
from slurm_cluster import SlurmCluster
from small_run import SmallRun

from clinical_modernbert.configs.errors import USER_ERROR, UserError
from clinical_modernbert.launcher.ranks.mpi import set_rank_from_mpi
from clinical_modernbert.launcher.runs.launch_log import read_launches
from clinical_modernbert.training.resilience.exit_codes import STOPPED

OPEN_MPI = {
    "OMPI_COMM_WORLD_RANK": "5", "OMPI_COMM_WORLD_SIZE": "8",
    "OMPI_COMM_WORLD_LOCAL_RANK": "1", "OMPI_COMM_WORLD_LOCAL_SIZE": "4",
}  # fmt: skip
HYDRA = {"PMI_RANK": "5", "PMI_SIZE": "8", "MPI_LOCALRANKID": "1", "MPI_LOCALNRANKS": "4"}
SRUN = {"PMI_RANK": "5", "PMI_SIZE": "8"}
MPIRUN = ["mpirun", "--allow-run-as-root", "--oversubscribe", "--bind-to", "none"]
SHOW = """
import json, os
from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.launcher.ranks.mpi import set_rank_from_mpi
from clinical_modernbert.launcher.ranks.slurm import set_rank_from_slurm
problem = ""
try:
    set_rank_from_mpi(os.environ)
except UserError as error:
    problem = str(error)
set_rank_from_slurm(os.environ)
names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR")
print(json.dumps([*map(os.environ.get, names), os.uname().nodename, os.environ["MASTER_PORT"], problem]))
"""
PATIENCE = 200


def shown(output: str) -> list[list[str]]:
    """What the ranks have printed, by rank; mpirun may put two of them on a line."""
    return sorted(map(json.loads, re.findall(r"\[.*?\]", output)))


def is_open_mpi() -> bool:
    """Whether this machine's mpirun is Open MPI's."""
    if not shutil.which("mpirun"):
        return False
    return "Open MPI" in subprocess.run(["mpirun", "--version"], capture_output=True, text=True).stdout


needs_mpirun = pytest.mark.skipif(not is_open_mpi(), reason="no Open MPI here: apt-get install openmpi-bin")


@pytest.mark.parametrize("launcher", [OPEN_MPI, HYDRA], ids=["Open MPI", "Hydra"])
def test_a_rank_takes_its_place_from_mpirun(launcher: dict[str, str]) -> None:
    environment = launcher | {"MASTER_ADDR": "node1", "MASTER_PORT": "2000"}
    set_rank_from_mpi(environment)
    assert environment == launcher | {
        "RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4",
        "MASTER_ADDR": "node1", "MASTER_PORT": "2000", "TERM": "dumb",
    }  # fmt: skip


@pytest.mark.parametrize("launcher", [OPEN_MPI, HYDRA], ids=["Open MPI", "Hydra"])
def test_ranks_on_several_nodes_need_the_address_of_the_first(launcher: dict[str, str]) -> None:
    with pytest.raises(UserError, match=r"8 ranks, 4 of them on this node, .* -x MASTER_ADDR=HOST"):
        set_rank_from_mpi(dict(launcher))


@pytest.mark.parametrize(
    "environment", [OPEN_MPI | {"RANK": "0"}, OPEN_MPI | {"OMPI_COMM_WORLD_SIZE": "1"}, SRUN], ids=str
)
def test_ranks_of_other_launchers_and_single_ones_are_unchanged(environment: dict[str, str]) -> None:
    before = dict(environment)
    set_rank_from_mpi(environment)
    assert environment == before


@needs_mpirun
def test_ranks_of_one_machine_find_each_other_and_two_jobs_have_two_ports() -> None:
    command = [*MPIRUN, "-n", "2", sys.executable, "-c", SHOW]
    first, second = (shown(subprocess.run(command, capture_output=True, text=True).stdout) for _ in range(2))
    assert [rank[:4] for rank in first] == [["0", "2", "0", "127.0.0.1"], ["1", "2", "1", "127.0.0.1"]]
    (port,), (other,) = ({rank[5] for rank in ranks} for ranks in (first, second))
    assert port != other
    assert all(20000 <= int(number) < 32768 for number in (port, other))


@needs_mpirun
@pytest.mark.parametrize("address", ["", "first"])
def test_under_slurm_ranks_are_those_of_mpirun_and_not_its_daemons(slurm_cluster: SlurmCluster, address: str) -> None:
    """mpirun starts one daemon per node with srun, whose variables all its ranks inherit."""
    command = ["salloc", "--quiet", "--partition=debug", "--nodes=2", "--ntasks-per-node=2", *MPIRUN, "-n", "4"]
    command += ["-x", f"MASTER_ADDR={address}"] if address else []
    done = subprocess.run(
        [*command, sys.executable, "-c", SHOW],
        env=slurm_cluster.environment | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    ranks = shown(done.stdout)
    assert [rank[:3] for rank in ranks] == [["0", "4", "0"], ["1", "4", "1"], ["2", "4", "0"], ["3", "4", "1"]]
    assert len({rank[4] for rank in ranks}) == 2
    assert len({rank[5] for rank in ranks}) == 1
    assert all(("where rank 0 is" in rank[6]) != bool(address) for rank in ranks)


def start(run: SmallRun, repository: Path, mark: str, *settings: str) -> subprocess.Popen:
    """Two ranks of `launcher/train.py` under mpirun; their output goes to the file of the run."""
    settings = (f"run_dir={run.run_dir}", f"data.path={run.data}", *settings)
    program = [sys.executable, str(repository / "launcher/train.py"), "--config", str(run.recipe)]
    program += [part for setting in settings for part in ("--set", setting)]
    values = {"GLOO_SOCKET_IFNAME": "lo", "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1", MARK: mark}
    with run.output.open("a") as output:
        return subprocess.Popen([*MPIRUN, "-n", "2", *program], env=os.environ | values, stdout=output, stderr=output)


@needs_mpirun
@pytest.mark.slow
def test_a_run_saves_on_usr1_and_after_the_loss_of_mpirun_and_continues(
    new_run: Callable[[], SmallRun], repository: Path, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its losses are those of a run that nothing interrupted."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    run, whole = new_run(), new_run()
    # Few checkpoints of its own: those at which it goes on are of the stops.
    long = "checkpoint.every_steps=1000"
    launcher = start(run, repository, mark, long)
    run.await_steps(2, launcher, PATIENCE)
    launcher.send_signal(signal.SIGUSR1)
    assert launcher.wait(PATIENCE) == STOPPED, run.output.read_text()
    stopped = run.newest_checkpoint()
    launcher = start(run, repository, mark, long)
    run.await_steps(int(stopped.name.removeprefix("step")) + 1, launcher, PATIENCE)
    launcher.kill()
    launcher.wait()
    await_end(mark, PATIENCE)
    assert run.newest_checkpoint() > stopped, run.output.read_text()
    launcher = start(run, repository, mark, long)
    assert launcher.wait(PATIENCE) == 0, run.output.read_text()
    assert "\x1b" not in run.output.read_text()  # it is a file, whatever mpirun shows to the ranks
    whole.train(ranks=2)
    assert run.column("loss") == whole.column("loss")
    outcomes = [(line["launcher"], line.get("code")) for line in read_launches(run.run_dir) if "launcher" in line]
    assert {launcher for launcher, _ in outcomes} == {"mpirun"}


@needs_mpirun
@pytest.mark.slow
@pytest.mark.ranks
def test_a_mistake_is_reported_once_with_its_exit_code(
    new_run: Callable[[], SmallRun], repository: Path, mark: str
) -> None:
    run = new_run()
    assert start(run, repository, mark, "batch.global_batch_siz=4").wait(PATIENCE) == USER_ERROR
    output = run.output.read_text()
    assert output.count("did you mean global_batch_size?") == 1, output
    assert "Traceback" not in output
    assert not run.run_dir.exists()


def test_cmbert_train_under_mpirun_is_refused(new_run: Callable[[], SmallRun], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in OPEN_MPI.items():
        monkeypatch.setenv(name, value)
    run = new_run()
    assert "mpirun started this command 8 times" in run.train(code=USER_ERROR)
    assert not run.run_dir.exists()


@needs_mpirun
def test_open_mpi_does_not_wait_for_a_checkpoint_after_sigterm(tmp_path: Path, mark: str) -> None:
    """So docs/launching.md asks for USR1."""
    rank = f"trap 'sleep 20; touch {tmp_path}/saved' TERM; touch {tmp_path}/ready; while :; do sleep 0.05; done"
    launcher = subprocess.Popen([*MPIRUN, "-n", "1", "bash", "-c", rank], env=os.environ | {MARK: mark})
    deadline = time.monotonic() + PATIENCE
    while not (tmp_path / "ready").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    launcher.terminate()
    assert launcher.wait(PATIENCE)
    assert not (tmp_path / "saved").exists()
