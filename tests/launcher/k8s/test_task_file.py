"""Files of SkyPilot and dstack against the schemas of both, and their command on two machines."""

import json
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from typer.testing import CliRunner

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.configs.loader.load import load
from clinical_modernbert.launcher.cli import app
from clinical_modernbert.launcher.cluster.config import ClusterConfig
from clinical_modernbert.launcher.k8s.task_file import Tool, render_task
from clinical_modernbert.training.recipe.config import RunConfig
from clinical_modernbert.training.resilience.exit_codes import REWOUND, STOPPED

SCHEMAS = Path(__file__).parent / "schemas"
TOOLS: list[Tool] = ["skypilot", "dstack"]
CLUSTER = """
nodes: 2
ranks_per_node: 8
gpu: h100
env: {NCCL_DEBUG: "WARN,INIT"}
pass_env: [WANDB_API_KEY]
setup: [export PREPARED="yes"]
interruption_notices: aws
rented:
  image: registry.example/clinical-modernbert:1
  spot: true
  volumes: {runs: /runs}
"""


@pytest.fixture
def config(repository: Path) -> RunConfig:
    return load(RunConfig, repository / "configs" / "base.yaml", ["run_dir=/runs/base", "batch.global_batch_size=512"])


def cluster(directory: Path, text: str = CLUSTER) -> ClusterConfig:
    file = directory / "cluster.yaml"
    file.write_text(text)
    return load(ClusterConfig, file)


def validate(task: dict[str, Any], tool: Tool) -> None:
    schema = json.loads((SCHEMAS / f"{tool}.json").read_text())
    if tool == "dstack":
        jsonschema.validate(task, schema)
    else:
        jsonschema.validate(task, schema["task"])
        jsonschema.validate(task["resources"], schema["resources"])


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("gpus", ["", "gpus_per_node: 0\n"])
def test_a_file_matches_the_schema_of_its_tool(config: RunConfig, tmp_path: Path, tool: Tool, gpus: str) -> None:
    task = yaml.safe_load(render_task(config, cluster(tmp_path, gpus + CLUSTER), tool))
    validate(task, tool)
    assert ("H100:8" in str(task["resources"])) is not bool(gpus)
    with pytest.raises(jsonschema.ValidationError):
        validate(task | {"nodse": 2}, tool)
    with pytest.raises(jsonschema.ValidationError):
        validate(task | {"resources": task["resources"] | {"acelerators": "H100"}}, tool)


@pytest.mark.parametrize("tool", TOOLS)
def test_options_are_merged_and_may_remove(config: RunConfig, tmp_path: Path, tool: Tool) -> None:
    key, value = ("infra", "aws/us-east-1") if tool == "skypilot" else ("cpu", "64..")
    removed = "job_recovery" if tool == "skypilot" else "shm_size"
    text = CLUSTER + f"  options: {{resources: {{{key}: {value}, {removed}: null}}}}\n"
    task = yaml.safe_load(render_task(config, cluster(tmp_path, text), tool))
    validate(task, tool)
    assert task["resources"][key] == value
    assert removed not in task["resources"]


def test_what_starts_a_run_again(config: RunConfig, tmp_path: Path) -> None:
    """Stops, rewinds and lost machines; not crashes and mistakes, of which the tools know only that they failed."""
    sky, dstack = (yaml.safe_load(render_task(config, cluster(tmp_path), tool)) for tool in TOOLS)
    recovery = sky["resources"]["job_recovery"]
    assert recovery == {"max_restarts_on_errors": 0, "recover_on_exit_codes": [STOPPED, REWOUND]}
    assert "error" not in dstack["retry"]["on_events"]
    assert (sky["resources"]["use_spot"], dstack["spot_policy"]) == (True, "spot")


PYTHON = """#!/bin/sh
while [ "$1" != --config ]; do echo "$1" >> {directory}/arguments; shift; done
cp "$2" {directory}/recipe.yaml
env > {directory}/environment
exit 85
"""
MACHINES: dict[Tool, dict[str, str]] = {
    "skypilot": {"SKYPILOT_NODE_RANK": "1", "SKYPILOT_NUM_NODES": "2", "SKYPILOT_NODE_IPS": "10.0.0.7\n10.0.0.9"},
    "dstack": {"DSTACK_NODE_RANK": "1", "DSTACK_NODES_NUM": "2", "DSTACK_MASTER_NODE_IP": "10.0.0.7"},
}


@pytest.mark.parametrize("tool", TOOLS)
def test_the_command_gives_the_program_of_a_node_all_it_needs(config: RunConfig, tmp_path: Path, tool: Tool) -> None:
    """The same recipe, the variables of `node.py`, and its exit code. No secret is in the file."""
    text = render_task(config, cluster(tmp_path), tool)
    task = yaml.safe_load(text)
    values = task["envs"] if tool == "skypilot" else dict(one.split("=", 1) for one in task["env"] if "=" in one)
    assert "WANDB_API_KEY" in (task["secrets"] if tool == "skypilot" else task["env"])
    (tmp_path / "python3").write_text(PYTHON.format(directory=tmp_path))
    (tmp_path / "python3").chmod(0o755)
    script = task["run"] if tool == "skypilot" else "".join(task["commands"])
    environment = {**values, **MACHINES[tool], "PATH": f"{tmp_path}:/usr/bin:/bin", "TMPDIR": str(tmp_path)}
    assert subprocess.run(["bash", "-c", script], env=environment).returncode == 85
    assert (tmp_path / "arguments").read_text().split() == ["-m", "clinical_modernbert.launcher.k8s.node"]
    assert load(RunConfig, tmp_path / "recipe.yaml") == config
    seen = dict(line.split("=", 1) for line in (tmp_path / "environment").read_text().splitlines() if "=" in line)
    wanted = {
        "JOB_COMPLETION_INDEX": "1", "NODES": "2", "RANKS_PER_NODE": "8", "MASTER_ADDR": "10.0.0.7",
        "MASTER_PORT": "29500", "GRACE_SECONDS": "120", "PREPARED": "yes", "NCCL_DEBUG": "WARN,INIT",
    }  # fmt: skip
    assert wanted.items() <= seen.items()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ranks_per_node: 1\n", "no section `rented`"),
        (
            "ranks_per_node: 1\ngpu: h100\nrented: {image: one}\n",
            "would be lost with its machines: set checkpoint.upload",
        ),
        ("ranks_per_node: 1\nrented: {image: one, volumes: {runs: /runs}}\n", "names no GPU: set rented.accelerator"),
    ],
)
def test_missing_settings_are_reported(config: RunConfig, tmp_path: Path, text: str, message: str) -> None:
    for tool in TOOLS:
        with pytest.raises(UserError, match=message):
            render_task(config, cluster(tmp_path, text), tool)


def test_checkpoints_in_a_store_need_no_volume(config: RunConfig, tmp_path: Path) -> None:
    upload = config.checkpoint.model_copy(update={"upload": "s3://bucket/base"})
    config = config.model_copy(update={"run_dir": Path("/tmp/base"), "checkpoint": upload})
    text = CLUSTER.replace("  volumes: {runs: /runs}\n", "")
    for tool in TOOLS:
        task = yaml.safe_load(render_task(config, cluster(tmp_path, text), tool))
        validate(task, tool)
        assert "volumes" not in task


def test_the_command_prints_the_file(tmp_path: Path) -> None:
    cluster(tmp_path)
    arguments = [
        "launch",
        "task-file",
        "base",
        "--cluster",
        str(tmp_path / "cluster.yaml"),
        "--set",
        "run_dir=/runs/base",
    ]
    for tool in TOOLS:
        printed = CliRunner().invoke(app, [*arguments, "--tool", tool, "--set", "batch.global_batch_size=512"])
        validate(yaml.safe_load(printed.stdout), tool)
