"""What a rank learns from its launcher, and what it tells: its place under srun, and how it ended."""

from pathlib import Path

import pytest
from slurm_cluster import SlurmCluster

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.configs.loader.load import load
from clinical_modernbert.configs.loader.recipes import find_recipe
from clinical_modernbert.launcher.ranks.slurm import set_rank_from_slurm
from clinical_modernbert.launcher.runs.snapshot import PACKAGE, code, entry, new_launch_directory, recipe, take_snapshot
from clinical_modernbert.launcher.train import agreed_exit_code, write_exit_file
from clinical_modernbert.training.recipe.config import RunConfig
from clinical_modernbert.training.resilience.exit_codes import REWOUND, STOPPED

STEP = {
    "SLURM_PROCID": "5", "SLURM_NTASKS": "8", "SLURM_LOCALID": "1", "SLURM_JOB_ID": "20007",
    "SLURM_STEP_NODELIST": "gpu[03-04]", "SLURM_STEP_NUM_TASKS": "8",
}  # fmt: skip


def test_under_srun_a_rank_takes_its_place_from_slurm(slurm_cluster: SlurmCluster) -> None:
    environment = dict(STEP)
    set_rank_from_slurm(environment)
    place = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "MASTER_ADDR": "gpu03", "MASTER_PORT": "27239"}
    assert environment == STEP | place


@pytest.mark.parametrize("job", [0, 12767, 12768, 2**31])
def test_the_port_is_none_that_linux_gives_away_by_itself(job: int) -> None:
    environment = STEP | {"SLURM_JOB_ID": str(job), "MASTER_ADDR": "gpu03"}
    set_rank_from_slurm(environment)
    assert 20000 <= int(environment["MASTER_PORT"]) < 32768


# A shell of salloc is a step of one task in a job of more.
@pytest.mark.parametrize("given", [{"RANK": "0"}, {"SLURM_STEP_NUM_TASKS": "1"}])
def test_another_launchers_place_or_a_shell_is_left_alone(given: dict[str, str]) -> None:
    environment = STEP | given
    set_rank_from_slurm(environment)
    assert environment == STEP | given


def test_only_a_task_of_a_real_step_is_a_rank(slurm_cluster: SlurmCluster, tmp_path: Path) -> None:
    """Neither its batch script nor what hides SLURM_NTASKS, as a job's preflight does."""
    (tmp_path / "job").write_text(
        "#!/bin/bash\nenv -0 > batch\n"
        "srun --ntasks=4 bash -c 'env -0 > rank$SLURM_PROCID; env -0 -u SLURM_NTASKS > preflight$SLURM_PROCID'\n"
    )
    slurm_cluster.run("sbatch", "--wait", "--nodes=2", "--ntasks-per-node=4", f"--chdir={tmp_path}", f"{tmp_path}/job")
    places = {}
    for name in ("batch", "preflight1", "rank0", "rank3"):
        environment = dict(line.split("=", 1) for line in (tmp_path / name).read_text().split("\0") if line)
        set_rank_from_slurm(environment)
        places[name] = environment.get("RANK"), environment.get("WORLD_SIZE")
    assert places == {"batch": (None, None), "preflight1": (None, None), "rank0": ("0", "4"), "rank3": ("3", "4")}


def test_an_address_of_the_users_own_stays_and_one_that_cannot_be_told_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    environment = STEP | {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "1"}
    set_rank_from_slurm(environment)
    assert (environment["MASTER_ADDR"], environment["MASTER_PORT"]) == ("10.0.0.1", "1")
    with pytest.raises(UserError, match=r"names of gpu\[03-04\]: set MASTER_ADDR"):
        set_rank_from_slurm(dict(STEP))


def test_the_first_rank_to_fail_leaves_word_and_of_success_rank_0(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    word = tmp_path / "exit"
    monkeypatch.setenv("CMBERT_EXIT_FILE", str(word))
    monkeypatch.setenv("RANK", "3")
    write_exit_file(0, "")
    assert not word.exists()
    write_exit_file(1, "ValueError")
    monkeypatch.setenv("RANK", "0")
    write_exit_file(0, "")
    assert word.read_text() == "1 ValueError on rank 3\n"
    word.unlink()
    write_exit_file(0, "")
    assert word.read_text() == "0\n"


@pytest.mark.parametrize("code", [STOPPED, REWOUND])
def test_rank_0_alone_tells_what_all_ranks_agreed_on(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert agreed_exit_code(code) == 0
    monkeypatch.setenv("RANK", "0")
    assert agreed_exit_code(code) == code


def test_a_snapshot_holds_all_that_a_rank_needs(tmp_path: Path) -> None:
    config = load(RunConfig, find_recipe("tiny"))
    launch = new_launch_directory(tmp_path / "run")
    take_snapshot(launch, config)
    copied = code(launch) / "clinical_modernbert"
    here = {path.relative_to(PACKAGE) for room in PACKAGE.glob("*/__init__.py") for path in room.parent.rglob("*.*")}
    expected = {path for path in here if "__pycache__" not in path.parts and (PACKAGE / path).is_file()}
    assert expected == {path.relative_to(copied) for path in copied.rglob("*.*") if path.parent != copied}
    assert entry(launch).read_bytes() == (PACKAGE / "launcher" / "train.py").read_bytes()
    assert load(RunConfig, recipe(launch)) == config
    with pytest.raises(UserError, match="cannot be written"):
        take_snapshot(launch, config)
