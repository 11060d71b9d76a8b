"""DeepSpeed's SLURM runner: unsafe settings are rejected before it starts, and ranks write the exit code."""

import subprocess
import sys
from pathlib import Path

import pytest
from slurm_cluster import SlurmCluster

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.launcher.runs.launch_log import read_launches
from clinical_modernbert.launcher.slurm.deepspeed import allocated_hosts, require_safe_exports

LAUNCH = """
import sys
from pathlib import Path
from clinical_modernbert.launcher.slurm.deepspeed import run_deepspeed
from clinical_modernbert.launcher.runs.launch_log import run_and_record
home = Path(sys.argv[1])
sys.exit(run_and_record(home, "deepspeed", lambda: run_deepspeed(home, home / "package", home / "entry.py", [])))
"""
# Rewinds in its first attempt, and crashes in the second.
ENTRY = """
import os, sys, time
from pathlib import Path
import clinical_modernbert
from clinical_modernbert.launcher.ranks.slurm import set_rank_from_slurm
from clinical_modernbert.launcher.train import write_exit_file
set_rank_from_slurm(os.environ)
home, rank = Path(__file__).parent, int(os.environ["RANK"])
def attempts(rank):
    path = home / f"rank{rank}"
    return path.read_text().splitlines() if path.exists() else []
with (home / f"rank{rank}").open("a") as file:
    print(os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"], clinical_modernbert.__file__, file=file)
while len(attempts(0)) != len(attempts(1)):
    time.sleep(0.01)
code = [86, 3][len(attempts(0)) - 1] if rank == 0 else 0
write_exit_file(code, "")
sys.exit(code)
"""


def test_running_without_an_allocation_is_a_user_error() -> None:
    with pytest.raises(UserError, match="no SLURM allocation"):
        allocated_hosts({})


def test_nodes_with_unequal_tasks_are_rejected() -> None:
    with pytest.raises(UserError, match=r"has 2,1 tasks on its nodes"):
        allocated_hosts({"SLURM_JOB_NODELIST": "node[1-2]", "SLURM_TASKS_PER_NODE": "2,1"})


def test_hosts_are_read_from_the_allocation(slurm_cluster: SlurmCluster) -> None:
    allocation = {"SLURM_JOB_NODELIST": "node[1-2,5]", "SLURM_TASKS_PER_NODE": "8(x3)"}
    assert allocated_hosts(allocation) == {"node1": 8, "node2": 8, "node5": 8}


def test_values_that_srun_would_truncate_are_rejected_by_name(tmp_path: Path) -> None:
    file = tmp_path / ".deepspeed_env"
    file.write_text("NCCL_DEBUG=INFO\nNCCL_SOCKET_IFNAME=eth0,eth1\n")
    require_safe_exports({"NCCL_IB_HCA": "mlx5_0", "OTHER": "a,b"}, [tmp_path / "absent"])
    with pytest.raises(UserError, match="would truncate NCCL_IB_HCA at a comma") as error:
        require_safe_exports({"NCCL_IB_HCA": "mlx5_0,mlx5_1"}, [])
    assert "mlx5_0" not in str(error.value)
    with pytest.raises(UserError, match=r"NCCL_SOCKET_IFNAME \(in .*\.deepspeed_env\)"):
        require_safe_exports({}, [file])


def test_secrets_that_every_user_could_see_are_rejected_by_name(tmp_path: Path) -> None:
    # Only variables with certain prefixes are put on the command line.
    require_safe_exports({"WANDB_API_KEY": "do-not-print", "MLFLOW_TRACKING_USERNAME": "me"}, [])
    file = tmp_path / ".deepspeed_env"
    file.write_text("NCCL_DEBUG=INFO\nWANDB_API_KEY=do-not-print\n")
    for environment, files, name in (
        ({"MLFLOW_TRACKING_PASSWORD": "do-not-print"}, [], "MLFLOW_TRACKING_PASSWORD"),
        ({"MLFLOW_TRACKING_URI": "https://bob:do-not-print@host"}, [], "MLFLOW_TRACKING_URI"),
        ({}, [file], r"WANDB_API_KEY \(in .*\.deepspeed_env\)"),
    ):
        with pytest.raises(UserError, match=f"would show {name} to every user.*pass_env") as error:
            require_safe_exports(environment, files)
        assert "do-not-print" not in str(error.value)


def test_a_rewound_run_starts_again_and_returns_the_last_exit_code(slurm_cluster: SlurmCluster, tmp_path: Path) -> None:
    """DeepSpeed's own runner and a real srun on two nodes; ranks write their address and end like the trainer."""
    entry = tmp_path / "entry.py"
    entry.write_text(ENTRY)
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "clinical_modernbert").symlink_to(Path(__file__).parents[3])
    command = ["salloc", "--quiet", "--partition=debug", "--nodes=2", "--ntasks-per-node=1", sys.executable, "-c"]
    done = subprocess.run(
        [*command, LAUNCH, str(tmp_path)], env=slurm_cluster.environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 3, done.stdout + done.stderr
    assert [line.get("code") for line in read_launches(tmp_path)] == [None, 86, None, 3]
    first, second = ((tmp_path / f"rank{rank}").read_text().splitlines() for rank in range(2))
    assert first == second
    address, port, path = first[0].split()
    assert first == [f"{address} {port} {path}"] * 2
    assert address in slurm_cluster.names
    # Not DeepSpeed's default 29500, which two jobs on one node would share.
    assert 20000 <= int(port) < 29000
    assert Path(path).is_relative_to(tmp_path)
