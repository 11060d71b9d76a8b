"""DeepSpeed's SLURM runner: what it would do wrong is refused before it starts; the ranks tell how they ended."""

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
# Rewinds at its first start, and crashes at the second.
ENTRY = """
import os, sys, time
from pathlib import Path
import clinical_modernbert
from clinical_modernbert.launcher.ranks.slurm import set_rank_from_slurm
from clinical_modernbert.launcher.train import write_exit_file
set_rank_from_slurm(os.environ)
home, rank = Path(__file__).parent, int(os.environ["RANK"])
def starts(rank):
    path = home / f"rank{rank}"
    return path.read_text().splitlines() if path.exists() else []
with (home / f"rank{rank}").open("a") as file:
    print(os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"], clinical_modernbert.__file__, file=file)
while len(starts(0)) != len(starts(1)):
    time.sleep(0.01)
code = [86, 3][len(starts(0)) - 1] if rank == 0 else 0
write_exit_file(code, "")
sys.exit(code)
"""


def test_without_an_allocation_it_is_refused() -> None:
    with pytest.raises(UserError, match="no SLURM allocation here"):
        allocated_hosts({})


def test_nodes_with_unequal_tasks_are_refused() -> None:
    with pytest.raises(UserError, match=r"has 2,1 tasks on its nodes"):
        allocated_hosts({"SLURM_JOB_NODELIST": "node[1-2]", "SLURM_TASKS_PER_NODE": "2,1"})


def test_the_hosts_are_those_of_the_allocation(slurm_cluster: SlurmCluster) -> None:
    allocation = {"SLURM_JOB_NODELIST": "node[1-2,5]", "SLURM_TASKS_PER_NODE": "8(x3)"}
    assert allocated_hosts(allocation) == {"node1": 8, "node2": 8, "node5": 8}


def test_values_that_srun_would_cut_are_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / ".deepspeed_env"
    file.write_text("NCCL_DEBUG=INFO\nNCCL_SOCKET_IFNAME=eth0,eth1\n")
    require_safe_exports({"NCCL_IB_HCA": "mlx5_0", "OTHER": "a,b"}, [tmp_path / "absent"])
    with pytest.raises(UserError, match="would cut NCCL_IB_HCA at a comma") as told:
        require_safe_exports({"NCCL_IB_HCA": "mlx5_0,mlx5_1"}, [])
    assert "mlx5_0" not in str(told.value)
    with pytest.raises(UserError, match=r"NCCL_SOCKET_IFNAME \(in .*\.deepspeed_env\)"):
        require_safe_exports({}, [file])


def test_secrets_that_every_user_would_see_are_refused_by_name(tmp_path: Path) -> None:
    # Only what is exported by name comes onto the command line.
    require_safe_exports({"WANDB_API_KEY": "do-not-tell", "MLFLOW_TRACKING_USERNAME": "me"}, [])
    file = tmp_path / ".deepspeed_env"
    file.write_text("NCCL_DEBUG=INFO\nWANDB_API_KEY=do-not-tell\n")
    for environment, files, name in (
        ({"MLFLOW_TRACKING_PASSWORD": "do-not-tell"}, [], "MLFLOW_TRACKING_PASSWORD"),
        ({}, [file], r"WANDB_API_KEY \(in .*\.deepspeed_env\)"),
    ):
        with pytest.raises(UserError, match=f"would show {name} to every user.*pass_env") as told:
            require_safe_exports(environment, files)
        assert "do-not-tell" not in str(told.value)


def test_a_run_that_rewound_starts_again_and_ends_with_its_last_word(
    slurm_cluster: SlurmCluster, tmp_path: Path
) -> None:
    """DeepSpeed's own runner and a real srun, of two nodes; a rank tells where it is and ends as its trainer would."""
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
    first, again = ((tmp_path / f"rank{rank}").read_text().splitlines() for rank in range(2))
    assert first == again
    address, port, path = first[0].split()
    assert first == [f"{address} {port} {path}"] * 2
    assert address in slurm_cluster.names
    # Not DeepSpeed's 29500, which two jobs on a node would share.
    assert 20000 <= int(port) < 29000
    assert Path(path).is_relative_to(tmp_path)
