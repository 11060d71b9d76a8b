"""Cluster files: defaults, the environment, and rejected values."""

import getpass
import shlex
import subprocess
from pathlib import Path

import pytest

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.configs.loader.load import load
from clinical_modernbert.launcher.cluster.config import FABRICS, ClusterConfig, SlurmConfig
from clinical_modernbert.launcher.slurm.job import (
    environment_lines,
    job_name,
    quote_option,
    render_job,
    require_mounted,
)


def read(directory: Path, text: str) -> ClusterConfig:
    path = directory / "cluster.yaml"
    path.write_text(text)
    return load(ClusterConfig, path)


def test_gpus_per_node_default_to_ranks_per_node(tmp_path: Path) -> None:
    assert read(tmp_path, "{nodes: 2, ranks_per_node: 8}").gpus() == 8
    assert read(tmp_path, "{ranks_per_node: 8, gpus_per_node: 0}").gpus() == 0
    assert read(tmp_path, "{nodes: 2, ranks_per_node: 8}").ranks == 16


def test_a_range_of_nodes_is_refused_by_launchers_that_need_one_number(tmp_path: Path) -> None:
    for text, nodes, possible in (("2", 2, [16]), ("'3'", 3, [24]), ("4-4", 4, [32])):
        cluster = read(tmp_path, f"{{nodes: {text}, ranks_per_node: 8}}")
        assert (cluster.nodes, [cluster.ranks], cluster.possible_ranks) == (nodes, possible, possible)
    elastic = read(tmp_path, "{nodes: 2-4, ranks_per_node: 8, slurm: {options: [--ntasks-per-core=1]}}")
    assert (elastic.node_range, elastic.possible_ranks) == ((2, 4), [16, 24, 32])
    with pytest.raises(UserError, match="nodes: 2-4 is a range, which only `cmbert launch slurm` understands"):
        _ = elastic.ranks


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
        ("ranks_per_node: 1\nslurm: {time: 1-}", "2: slurm.time: expected minutes, H:M:S or D-H:M:S"),
        ("ranks_per_node: 1\nslurm: {options: [exclusive]}", "2: slurm.options: expected one option per"),
        ('ranks_per_node: 1\nslurm: {options: ["-C a\\n#"]}', "2: slurm.options: expected one option per"),
        ("ranks_per_node: 1\nslurm: {container_mounts: [data]}", "2: slurm.container_mounts: expected absolute paths"),
        ("ranks_per_node: 1\nslurm: {partion: a}", "2: slurm.partion: unknown key; did you mean partition?"),
        ("nodes: 1", "ranks_per_node"),
        (
            "ranks_per_node: 1\nnodes: 8-4",
            "2: nodes: expected a number of nodes or a range, such as 4 or 4-8, got '8-4'",
        ),
        ("ranks_per_node: 1\nnodes: 0", "2: nodes: expected a number of nodes or a range"),
        ("ranks_per_node: 1\nnodes: 0-4", "2: nodes: expected a number of nodes or a range"),
        ("ranks_per_node: 1\nnodes: 4+", "2: nodes: expected a number of nodes or a range"),
        ("ranks_per_node: 1\nnodes: [4, 8]", "2: nodes: expected a whole number or text, got"),
        ("ranks_per_node: 1\nslurm: {options: [--nodes=2-4]}", "2: slurm.options: '--nodes=2-4': set `nodes`, such as"),
        ("ranks_per_node: 1\nslurm: {options: [-N 4]}", "2: slurm.options: '-N 4': set `nodes`"),
        ("ranks_per_node: 1\nslurm: {options: [--ntasks 8]}", "2: slurm.options: '--ntasks 8': set `nodes`"),
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
    assert "    eval 'module load cuda/12.8' || " in script


@pytest.mark.parametrize(
    ("time", "seconds"),
    [("90", 5400), ("1:02:03", 3723), ("1-00", 86_400), ("1-02:30", 95_400), ("2-00:00:07", 172_807)],
)
def test_every_form_of_a_time_limit_is_read_as_sbatch_does(time: str, seconds: int) -> None:
    assert SlurmConfig(time=time).seconds == seconds


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("false", 1),
        ("false # the check must survive this comment", 1),
        ("# only a comment", 0),
        ("echo 'not closed", 1),
        ("true \\", 0),
        ("export SEEN='a b' # and a comment", 0),
        ("true; false", 1),
    ],
)
def test_a_failed_line_of_setup_ends_the_job(line: str, code: int) -> None:
    cluster = ClusterConfig(ranks_per_node=1, setup=(line,))
    script = "\n".join([*environment_lines(cluster, None), "set_up", "echo reached"])
    ended = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert ended.returncode == code, ended.stderr
    assert ("reached" in ended.stdout) == (code == 0)
    assert ("setup failed:" in ended.stdout) == (code != 0)


@pytest.mark.parametrize(
    "option", ["--gres=gpu:a100:4", "--gres gpu:4", "--gres=tmpfs:1,gpu:2", "--gpus=8", "-G 8", "--gpus-per-task=1"]
)
def test_gpus_are_requested_once(tmp_path: Path, option: str) -> None:
    plain = render_job(tmp_path, tmp_path, ClusterConfig(ranks_per_node=4), ["true"])
    assert "#SBATCH --gpus-per-node=4" in plain
    cluster = ClusterConfig(ranks_per_node=4, slurm=SlurmConfig(options=(option,)))
    script = render_job(tmp_path, tmp_path, cluster, ["true"])
    assert "--gpus-per-node" not in script
    assert f"#SBATCH {option}" in script
    other = ClusterConfig(ranks_per_node=4, slurm=SlurmConfig(options=("--gres=tmpfs:1",)))
    assert "#SBATCH --gpus-per-node=4" in render_job(tmp_path, tmp_path, other, ["true"])


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--exclusive", ["--exclusive"]),
        ("--comment=my run #2", ["--comment=my run #2"]),
        ("--comment='my run'", ["--comment=my run"]),
        ("-C haswell", ["-C", "haswell"]),
        ("--constraint=[rack1|rack2]&a100", ["--constraint=[rack1|rack2]&a100"]),
        ("--nodelist=node[1-3]", ["--nodelist=node[1-3]"]),
    ],
)
def test_options_are_quoted_as_one_line_of_the_script(option: str, words: list[str]) -> None:
    assert shlex.split(quote_option(option), comments=True) == words


@pytest.mark.parametrize(
    ("mounts", "seen"),
    [
        ((), False),
        (("/data:/data",), False),
        (("{root}:{root}",), True),
        (("{root}:{root}:rw",), True),
        (("{root}",), True),
        (("{root}:/elsewhere",), False),
        (("{root}/ru:{root}/ru",), False),
        (("/data:/data", "{root}/run:{root}/run"), True),
    ],
)
def test_a_container_must_show_the_run(tmp_path: Path, mounts: tuple[str, ...], seen: bool) -> None:
    run = tmp_path.resolve() / "run"
    given = tuple(mount.replace("{root}", str(run.parent)) for mount in mounts)
    require_mounted(ClusterConfig(ranks_per_node=1), [run])
    cluster = ClusterConfig(ranks_per_node=1, slurm=SlurmConfig(container="x.sqsh", container_mounts=given))
    if seen:
        require_mounted(cluster, [run])
    else:
        with pytest.raises(UserError, match=r"run is in no mount of the container.*add a directory above it"):
            require_mounted(cluster, [run])
