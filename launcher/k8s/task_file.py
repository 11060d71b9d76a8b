"""The file of a task for SkyPilot or dstack, which rent machines and run the same command on each.

The file holds all of the run: the recipe is written by the command itself. Both tools give the command the number of
its machine and the address of the first, from which the program of a pod (`node.py`) makes ranks. After a machine is
taken back, the task starts again, and so it does, in SkyPilot, after the exit codes with which a run wants to continue.
A crash or a mistake of the user ends it: SkyPilot counts both alike, and dstack knows no exit codes.
"""

from typing import Any, Literal, NamedTuple, TypeAlias

import yaml

from ...configs.errors import UserError
from ...configs.loader.load import dump
from ...training.recipe.config import RunConfig
from ...training.resilience.exit_codes import REWOUND, STOPPED
from ..cluster.config import ClusterConfig
from ..cluster.kubernetes import overlay
from ..cluster.rented import RentedConfig
from ..ranks.warden import GRACE
from .jobset import PORT, run_name

Tool: TypeAlias = Literal["skypilot", "dstack"]
_END = "END_OF_RECIPE"


class _Names(NamedTuple):
    """Shell expressions with what a tool knows of the machines."""

    rank: str
    nodes: str
    first: str


_NAMES: dict[Tool, _Names] = {
    "skypilot": _Names('"$SKYPILOT_NODE_RANK"', '"$SKYPILOT_NUM_NODES"', '"$(echo "$SKYPILOT_NODE_IPS" | head -n 1)"'),
    "dstack": _Names('"$DSTACK_NODE_RANK"', '"$DSTACK_NODES_NUM"', '"$DSTACK_MASTER_NODE_IP"'),
}


def render_task(config: RunConfig, cluster: ClusterConfig, tool: Tool) -> str:
    """Render the file, as YAML for `sky jobs launch FILE` or `dstack apply -f FILE`.

    Raises:
        UserError: the cluster's file has no section `rented` or names no GPU, or checkpoints would be lost with the
            machines.
    """
    settings = cluster.rented
    if settings is None:
        raise UserError("the cluster's file has no section `rented`: add one with at least image: NAME")
    on_volume = any(config.run_dir.is_relative_to(directory) for directory in settings.volumes.values())
    if not on_volume and config.checkpoint.upload is None:
        raise UserError(
            f"run_dir={config.run_dir} is on no volume and would be lost with its machines: set checkpoint.upload to "
            "an object store, or run_dir to a directory below one of rented.volumes"
        )
    task = {"skypilot": _skypilot, "dstack": _dstack}[tool](config, cluster, settings)
    return yaml.dump(overlay(task, settings.options), Dumper=_Dumper, sort_keys=False, width=120)


def _skypilot(config: RunConfig, cluster: ClusterConfig, settings: RentedConfig) -> dict[str, Any]:
    secrets = {"secrets": dict.fromkeys(cluster.pass_env)} if cluster.pass_env else {}
    volumes = {directory: name for name, directory in settings.volumes.items()}
    return {
        "name": run_name(config.run_dir),
        "num_nodes": cluster.node_count,
        "resources": {
            "image_id": f"docker:{settings.image}",
            **({"accelerators": _accelerators(cluster, settings)} if cluster.gpus() else {}),
            "use_spot": settings.spot,
            "job_recovery": {"max_restarts_on_errors": 0, "recover_on_exit_codes": [STOPPED, REWOUND]},
        },
        **({"volumes": volumes} if volumes else {}),
        "envs": _environment(cluster, settings),
        **secrets,
        "run": _script(config, cluster, "skypilot"),
    }


def _dstack(config: RunConfig, cluster: ClusterConfig, settings: RentedConfig) -> dict[str, Any]:
    values = [f"{name}={value}" for name, value in _environment(cluster, settings).items()]
    gpus = {"gpu": _accelerators(cluster, settings)} if cluster.gpus() else {}
    return {
        "type": "task",
        "name": run_name(config.run_dir),
        "nodes": cluster.node_count,
        "image": settings.image,
        "shell": "bash",
        "env": [*values, *cluster.pass_env],
        "commands": [_script(config, cluster, "dstack")],
        "resources": {**gpus, "shm_size": f"{settings.shared_memory}GB"},
        **({"volumes": [f"{name}:{path}" for name, path in settings.volumes.items()]} if settings.volumes else {}),
        "spot_policy": "spot" if settings.spot else "on-demand",
        "retry": {"on_events": ["no-capacity", "interruption"], "duration": "7d"},
        "stop_duration": f"{settings.grace_seconds}s",
    }


def _accelerators(cluster: ClusterConfig, settings: RentedConfig) -> str:
    name = settings.accelerator or (cluster.gpu and cluster.gpu.upper())
    if not name:
        raise UserError("the cluster's file names no GPU: set rented.accelerator, such as H100, or gpu")
    return f"{name}:{cluster.gpus()}"


def _environment(cluster: ClusterConfig, settings: RentedConfig) -> dict[str, str]:
    grace = str(settings.grace_seconds)
    ranks = {"RANKS_PER_NODE": str(cluster.ranks_per_node), "MASTER_PORT": str(PORT)}
    return {**cluster.environment(), **ranks, "GRACE_SECONDS": grace, GRACE: grace}


def _script(config: RunConfig, cluster: ClusterConfig, tool: Tool) -> str:
    names = _NAMES[tool]
    lines = [
        "set -e",
        *cluster.setup,
        "recipe=$(mktemp -d)/recipe.yaml",
        f"cat > $recipe <<'{_END}'",
        dump(config).rstrip("\n"),
        _END,
        f"export JOB_COMPLETION_INDEX={names.rank} NODES={names.nodes} MASTER_ADDR={names.first}",
        "exec python3 -m clinical_modernbert.launcher.k8s.node --config $recipe",
    ]
    return "\n".join([*lines, ""])


class _Dumper(yaml.SafeDumper):
    """Writes text of several lines as such a block."""


def _represent(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Dumper.add_representer(str, _represent)
