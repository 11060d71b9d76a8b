"""Cluster files: defaults, the environment, and rejected values."""

import getpass
from pathlib import Path

import pytest

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.configs.loader.load import load
from clinical_modernbert.launcher.cluster.config import FABRICS, ClusterConfig
from clinical_modernbert.launcher.slurm.job import job_name, render_job


def read(directory: Path, text: str) -> ClusterConfig:
    path = directory / "cluster.yaml"
    path.write_text(text)
    return load(ClusterConfig, path)


def test_gpus_per_node_default_to_ranks_per_node(tmp_path: Path) -> None:
    assert read(tmp_path, "{nodes: 2, ranks_per_node: 8}").gpus() == 8
    assert read(tmp_path, "{ranks_per_node: 8, gpus_per_node: 0}").gpus() == 0
    assert read(tmp_path, "{nodes: 2, ranks_per_node: 8}").ranks == 16


def test_the_environment_combines_fabric_caches_and_user_variables(tmp_path: Path) -> None:
    text = "{ranks_per_node: 1, fabric: slingshot, local_disk: /scratch, env: {NCCL_SOCKET_IFNAME: eth, A: 'x, y'}}"
    environment = read(tmp_path, text).environment()
    assert environment["NCCL_NET"] == FABRICS["slingshot"]["NCCL_NET"]
    assert environment["TRITON_CACHE_DIR"] == f"/scratch/cmbert-{getpass.getuser()}/triton"
    assert (environment["NCCL_SOCKET_IFNAME"], environment["A"]) == ("eth", "x, y")


def test_shards_are_cached_on_a_local_disk_that_is_set(tmp_path: Path) -> None:
    mine = f"cmbert-{getpass.getuser()}"
    environment = read(tmp_path, "{ranks_per_node: 1, local_disk: /scratch}").environment()
    assert environment["CMBERT_CACHE"] == f"/scratch/{mine}/data"
    assert "CMBERT_CACHE" not in read(tmp_path, "{ranks_per_node: 1}").environment(), "/tmp may be small"
    own = "{ranks_per_node: 1, local_disk: /scratch, env: {CMBERT_CACHE: /mine}}"
    assert read(tmp_path, own).environment()["CMBERT_CACHE"] == "/mine"


def test_secrets_come_only_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = read(tmp_path, "{ranks_per_node: 1, pass_env: [WANDB_API_KEY]}")
    monkeypatch.setenv("WANDB_API_KEY", "secret-value")
    assert cluster.all_environment()["WANDB_API_KEY"] == "secret-value"
    script = render_job(tmp_path, tmp_path, cluster, ["true"])
    assert "WANDB_API_KEY" in script
    assert "secret-value" not in script


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ranks_per_node: 1\nenv: {WANDB_API_KEY: abc}", "2: env: WANDB_API_KEY looks like a secret"),
        ("ranks_per_node: 1\nenv: {my-name: abc}", "2: env: 'my-name' is not a valid name of an environment variable"),
        ("ranks_per_node: 1\nslurm: {time: tomorrow}", "2: slurm.time: expected minutes, H:M:S or D-H:M:S"),
        ("ranks_per_node: 1\nslurm: {time: '24:00'}", "2: slurm.time: .*two parts as minutes and seconds"),
        ("ranks_per_node: 1\nslurm: {time: '4'}", "2: slurm: stop_seconds=300 leaves no time to train: time=4"),
        ("ranks_per_node: 1\nslurm: {partion: a}", "2: slurm.partion: unknown key; did you mean partition?"),
        ("nodes: 1", "ranks_per_node"),
    ],
)
def test_errors_name_their_line_but_no_secret(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as error:
        read(tmp_path, text)
    assert "abc" not in str(error.value)


def test_equal_directory_names_give_different_job_names(tmp_path: Path) -> None:
    names = {job_name(tmp_path / parent / "my run") for parent in ("a", "b")}
    assert len(names) == 2
    assert all(name.startswith("cmbert-my_run-") for name in names)


def test_the_script_requests_the_resources_of_the_cluster_file(tmp_path: Path) -> None:
    text = """
nodes: 4
ranks_per_node: 8
setup: [module load cuda/12.8]
slurm: {partition: gpu, account: clin, qos: long, time: 2-00:00:00, cpus_per_rank: 12, exclude: ["node[3-5]"],
        options: [--exclusive], container: image.sqsh, container_mounts: ["/data:/data"], stop_seconds: 600}
"""
    script = render_job(tmp_path / "launch", tmp_path, read(tmp_path, text), ["python3", "train.py"])
    requested = {line.removeprefix("#SBATCH ") for line in script.splitlines() if line.startswith("#SBATCH")}
    machines = {"--nodes=4", "--ntasks-per-node=8", "--gpus-per-node=8", "--cpus-per-task=12", "--exclude=node[3-5]"}
    accounted = {"--partition=gpu", "--account=clin", "--qos=long", "--time=2-00:00:00", "--exclusive"}
    assert machines | accounted | {"--signal=B:USR1@600", "--requeue", "--dependency=singleton"} <= requested
    assert "srun_options=(--cpus-per-task=12 --container-image=image.sqsh --container-mounts=/data:/data)" in script
    assert "    module load cuda/12.8 || " in script
