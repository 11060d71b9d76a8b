"""The description of a cluster in one YAML file: the resources to request, and the environment of its nodes.

nodes: 4
ranks_per_node: 8
fabric: infiniband
setup: [module load cuda/12.8]
env: {NCCL_IB_HCA: "mlx5_0,mlx5_1"}
pass_env: [WANDB_API_KEY]
slurm: {partition: gpu, account: clin, time: "24:00:00"}
"""

import getpass
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    field_validator,
    model_validator,
)

from ...configs.errors import UserError
from ...configs.secrets import is_secret_name
from ..ranks.interruption import CLOUD, Cloud
from .kubernetes import KubernetesConfig
from .network import NetworkConfig
from .rented import RentedConfig

FABRICS: dict[str, dict[str, str]] = {
    # NCCL finds InfiniBand and RoCE adapters; cluster-specific variables such as NCCL_IB_HCA belong in `env`.
    "infiniband": {},
    "tcp": {"NCCL_IB_DISABLE": "1"},
    # Data-loader workers are forked after the adapter's memory was registered, which requires fork safety.
    "efa": {"FI_PROVIDER": "efa", "FI_EFA_FORK_SAFE": "1", "NCCL_SOCKET_IFNAME": "^lo,docker,veth"},
    # The required variables in the documentation of Isambard-AI, https://docs.isambard.ac.uk (env_vars.sh). Tuning
    # variables, such as FI_CXI_RX_MATCH_MODE and NCCL_CROSS_NIC, belong in `env`.
    "slingshot": {
        "NCCL_NET": "AWS Libfabric",
        "NCCL_SOCKET_IFNAME": "hsn",
        "FI_CXI_DISABLE_HOST_REGISTER": "1",
        "FI_MR_CACHE_MONITOR": "userfaultfd",
        "FI_CXI_DEFAULT_CQ_SIZE": "131072",
    },
}
_SIZE = re.compile(r"-[Nn]|--(nodes|ntasks|ntasks-per-node)(?![\w-])")
"""Options of sbatch for the size of a job, by which its script would not know what it has."""
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SlurmConfig(_Section):
    """The resources of a SLURM job, and how it restarts."""

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    time: str = Field("24:00:00", description="limit of one job as for sbatch: minutes, H:M:S, D-H, D-H:M or D-H:M:S")
    cpus_per_rank: PositiveInt | None = Field(None, description="cores; null: default of the partition")
    exclude: tuple[str, ...] = Field((), description="nodes to exclude, such as node[3-5]")
    options: tuple[str, ...] = Field((), description="further options of sbatch, such as --exclusive")
    srun_options: tuple[str, ...] = Field((), description="further options of srun for the ranks, such as --mpi=pmix")
    container: str | None = Field(None, description="container image for the ranks: a file or an address")
    container_runtime: Literal["pyxis", "apptainer", "singularity"] = Field(
        "pyxis", description="pyxis: options of srun that start enroot; the others: a command before the rank's"
    )
    container_mounts: tuple[str, ...] = Field((), description="such as /data:/data")
    stage_environment: Path | None = Field(
        None,
        description="directory on a shared disk for an archive of the Python environment, which every node unpacks on "
        "its local_disk before the ranks start; null: ranks run it where it is",
    )
    stop_seconds: PositiveInt = Field(300, description="ranks save and stop this long before the time limit")
    max_failures: PositiveInt = Field(3, description="consecutive crashes without a new checkpoint before giving up")
    preflight: str | None = Field(
        "doctor",
        description="command for every node before each attempt; doctor: `cmbert doctor --quick`, and an exchange of "
        "all nodes; null: none",
    )
    preflight_seconds: PositiveInt = Field(300, description="timeout of the preflight")
    max_excluded: NonNegativeInt = Field(
        2, description="maximum number of nodes that may fail the preflight; the run is submitted again without them"
    )
    spare_nodes: NonNegativeInt = Field(
        0, description="further nodes to hold if the cluster has them, in place of nodes that fail the preflight"
    )

    @field_validator("time")
    @classmethod
    def _check_time(cls, text: str) -> str:
        if not re.fullmatch(r"\d+|\d+:\d\d:\d\d|\d+-\d+(:\d\d){0,2}", text):
            hint = ": sbatch reads two parts as minutes and seconds" if re.fullmatch(r"\d+:\d\d", text) else ""
            raise ValueError(f"expected minutes, H:M:S or D-H:M:S, such as '24:00:00', got {text!r}{hint}")
        return text

    @field_validator("options", "srun_options")
    @classmethod
    def _check_options(cls, options: tuple[str, ...]) -> tuple[str, ...]:
        for option in options:
            if not option.startswith("-") or "\n" in option:
                raise ValueError(f"expected one option per entry, such as '--exclusive', got {option!r}")
        return options

    @field_validator("options")
    @classmethod
    def _check_sizes(cls, options: tuple[str, ...]) -> tuple[str, ...]:
        for option in options:
            if _SIZE.match(option):
                raise ValueError(f"{option!r}: set `nodes`, such as 4 or 4-8, and `ranks_per_node` instead")
        return options

    @field_validator("container_mounts")
    @classmethod
    def _check_mounts(cls, mounts: tuple[str, ...]) -> tuple[str, ...]:
        for mount in mounts:
            if not re.fullmatch(r"/[^:,]*(:/[^:,]*(:[^:,]+)?)?", mount):
                raise ValueError(f"expected absolute paths as in '/data:/data' or '/data:/data:ro', got {mount!r}")
        return mounts

    @model_validator(mode="after")
    def _check_staging(self) -> "SlurmConfig":
        if self.stage_environment is None:
            return self
        if self.container:
            raise ValueError("stage_environment is for jobs without a container, whose image has its own environment")
        if not self.stage_environment.is_absolute():
            raise ValueError(f"stage_environment: expected an absolute path, got {str(self.stage_environment)!r}")
        return self

    @model_validator(mode="after")
    def _check_stop(self) -> "SlurmConfig":
        if self.stop_seconds >= self.seconds:
            raise ValueError(f"stop_seconds={self.stop_seconds} leaves no time to train: time={self.time}")
        return self

    @property
    def seconds(self) -> int:
        """The time limit of a job in seconds."""
        days, dash, clock = self.time.rpartition("-")
        parts = [int(part) for part in clock.split(":")]
        # After days, hours come first; without days, a single number is minutes.
        hours, minutes, seconds = [*parts, 0, 0][:3] if dash or len(parts) == 3 else (0, *parts, 0)
        return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds


class ClusterConfig(_Section):
    """The nodes of a cluster, the processes on each, and their environment."""

    nodes: int | str = Field(
        1, description="a number, or a range such as 4-8: as many as a SLURM job gets at each start"
    )
    ranks_per_node: PositiveInt = Field(description="processes per node: one per GPU")
    gpus_per_node: NonNegativeInt | None = Field(None, description="null: one per rank; 0: train on CPUs")
    fabric: Literal["infiniband", "tcp", "efa", "slingshot"] = Field("infiniband", description="network between nodes")
    env: dict[str, str] = Field(default_factory=dict, description="environment variables")
    pass_env: tuple[str, ...] = Field((), description="variables, such as secrets, to take from your environment")
    setup: tuple[str, ...] = Field((), description="shell lines before the ranks start, such as module load")
    local_disk: Path = Field(
        Path("/tmp"), description="local disk of every node, for caches of compiled code and, if set, of shards"
    )
    gpu: str | None = Field(None, description="such as h100, for `cmbert plan`")
    price_per_gpu_hour: NonNegativeFloat | None = Field(None, description="in any currency, for `cmbert plan`")
    interruption_notices: Cloud | None = Field(
        None, description="cloud whose metadata service announces that it takes a spot instance back; ranks then save"
    )
    slurm: SlurmConfig = SlurmConfig()
    kubernetes: KubernetesConfig | None = None
    rented: RentedConfig | None = Field(None, description="for SkyPilot and dstack")
    network: NetworkConfig = Field(NetworkConfig(), description="for `cmbert plan`")

    @field_validator("nodes")
    @classmethod
    def _check_nodes(cls, nodes: int | str) -> int | str:
        found = re.fullmatch(r"(\d+)(?:-(\d+))?", str(nodes))
        fewest, most = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
        if not 0 < fewest <= most:
            raise ValueError(f"expected a number of nodes or a range, such as 4 or 4-8, got {nodes!r}")
        return most if fewest == most else f"{fewest}-{most}"

    @field_validator("env")
    @classmethod
    def _check_env(cls, env: dict[str, str]) -> dict[str, str]:
        for name, value in env.items():
            if not _VARIABLE.fullmatch(name):
                raise ValueError(f"{name!r} is not a valid name of an environment variable")
            if is_secret_name(name):
                raise ValueError(f"{name} looks like a secret, and others can read this file: name it in pass_env")
            if "\n" in value:
                raise ValueError(f"{name}: the value must not contain newlines")
        return env

    @property
    def node_range(self) -> tuple[int, int]:
        """The fewest and the most nodes."""
        fewest, _, most = str(self.nodes).partition("-")
        return int(fewest), int(most or fewest)

    @property
    def possible_ranks(self) -> Sequence[int]:
        """The numbers of ranks on all numbers of nodes that are allowed."""
        fewest, most = self.node_range
        return [nodes * self.ranks_per_node for nodes in range(fewest, most + 1)]

    @property
    def node_count(self) -> int:
        """The number of nodes, for launchers that need one number.

        Raises:
            UserError: `nodes` is a range.
        """
        fewest, most = self.node_range
        if fewest < most:
            raise UserError(
                f"nodes: {self.nodes} is a range, which only `cmbert launch slurm` understands; set one number"
            )
        return most

    @property
    def ranks(self) -> int:
        """The number of ranks, for launchers that need one number; raises UserError as `node_count` does."""
        return self.node_count * self.ranks_per_node

    def gpus(self) -> int:
        """Return the number of GPUs per node."""
        return self.ranks_per_node if self.gpus_per_node is None else self.gpus_per_node

    def own_directory(self) -> Path:
        """Return the directory of this user on `local_disk`."""
        return self.local_disk / f"cmbert-{getpass.getuser()}"

    def environment(self) -> dict[str, str]:
        """Return the variables of the fabric and of cache directories, overridden by `env`."""
        # On a shared disk, the ranks of different nodes would race for the same files.
        home = self.own_directory()
        caches = {name: f"{home}/{kind}" for name, kind in _CACHES.items()}
        if "local_disk" in self.model_fields_set:  # else /tmp, which may be too small for shards
            caches["CMBERT_CACHE"] = f"{home}/data"
        on_cpus = {} if self.gpus() else {"CUDA_VISIBLE_DEVICES": ""}
        notices = {CLOUD: self.interruption_notices} if self.interruption_notices else {}
        return {**FABRICS[self.fabric], **caches, **on_cpus, **notices, **self.env}

    def all_environment(self) -> dict[str, str]:
        """Return `environment` with the values of `pass_env` from this process. Do not write it anywhere.

        Raises:
            UserError: a variable is not set.
        """
        if missing := [name for name in self.pass_env if name not in os.environ]:
            raise UserError(f"pass_env names {', '.join(missing)}, not set in your environment: export it first")
        return {**self.environment(), **{name: os.environ[name] for name in self.pass_env}}


_CACHES = {"TRITON_CACHE_DIR": "triton", "TORCH_EXTENSIONS_DIR": "extensions"}
