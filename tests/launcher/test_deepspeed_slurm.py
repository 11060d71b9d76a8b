"""DeepSpeed's SLURM runner: what it would do wrong is refused before it starts."""

from pathlib import Path

import pytest
from slurm_cluster import SlurmCluster

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.launcher.deepspeed_slurm import allocated_hosts, refuse_what_is_cut


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
    refuse_what_is_cut({"NCCL_IB_HCA": "mlx5_0", "OTHER": "a,b"}, [tmp_path / "absent"])
    with pytest.raises(UserError, match="would cut NCCL_IB_HCA at a comma") as told:
        refuse_what_is_cut({"NCCL_IB_HCA": "mlx5_0,mlx5_1"}, [])
    assert "mlx5_0" not in str(told.value)
    with pytest.raises(UserError, match=r"NCCL_SOCKET_IFNAME \(in .*\.deepspeed_env\)"):
        refuse_what_is_cut({}, [file])
