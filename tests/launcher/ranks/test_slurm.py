"""Rank and rendezvous from SLURM's variables."""

from pathlib import Path

import pytest
from slurm_cluster import SlurmCluster

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.launcher.ranks.slurm import set_rank_from_slurm

STEP = {
    "SLURM_PROCID": "5", "SLURM_NTASKS": "8", "SLURM_LOCALID": "1", "SLURM_JOB_ID": "20007",
    "SLURM_STEP_NODELIST": "gpu[03-04]", "SLURM_STEP_NUM_TASKS": "8",
}  # fmt: skip


def test_a_task_of_srun_takes_its_rank_from_slurm(slurm_cluster: SlurmCluster) -> None:
    environment = dict(STEP)
    set_rank_from_slurm(environment)
    expected = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "MASTER_ADDR": "gpu03", "MASTER_PORT": "27239"}
    assert environment == STEP | expected


@pytest.mark.parametrize("job", [0, 12767, 12768, 2**31])
def test_the_port_is_below_the_ephemeral_ports(job: int) -> None:
    environment = STEP | {"SLURM_JOB_ID": str(job), "MASTER_ADDR": "gpu03"}
    set_rank_from_slurm(environment)
    assert 20000 <= int(environment["MASTER_PORT"]) < 32768


# A shell of salloc is a step with one task in a job with several.
@pytest.mark.parametrize("variables", [{"RANK": "0"}, {"SLURM_STEP_NUM_TASKS": "1"}])
def test_ranks_of_other_launchers_and_shells_are_unchanged(variables: dict[str, str]) -> None:
    environment = STEP | variables
    set_rank_from_slurm(environment)
    assert environment == STEP | variables


def test_only_tasks_of_a_real_step_are_ranks(slurm_cluster: SlurmCluster, tmp_path: Path) -> None:
    """A batch script is not a rank, nor is a process that hides SLURM_NTASKS, like a job's preflight."""
    (tmp_path / "job").write_text(
        "#!/bin/bash\nenv -0 > batch\n"
        "srun --ntasks=4 bash -c 'env -0 > rank$SLURM_PROCID; env -0 -u SLURM_NTASKS > preflight$SLURM_PROCID'\n"
    )
    slurm_cluster.run("sbatch", "--wait", "--nodes=2", "--ntasks-per-node=4", f"--chdir={tmp_path}", f"{tmp_path}/job")
    ranks = {}
    for name in ("batch", "preflight1", "rank0", "rank3"):
        environment = dict(line.split("=", 1) for line in (tmp_path / name).read_text().split("\0") if line)
        set_rank_from_slurm(environment)
        ranks[name] = environment.get("RANK"), environment.get("WORLD_SIZE")
    assert ranks == {"batch": (None, None), "preflight1": (None, None), "rank0": ("0", "4"), "rank3": ("3", "4")}


def test_a_given_address_is_kept_and_an_unknown_one_is_requested(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    environment = STEP | {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "1"}
    set_rank_from_slurm(environment)
    assert (environment["MASTER_ADDR"], environment["MASTER_PORT"]) == ("10.0.0.1", "1")
    with pytest.raises(UserError, match=r"names of gpu\[03-04\]: set MASTER_ADDR"):
        set_rank_from_slurm(dict(STEP))
