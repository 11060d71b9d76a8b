"""The `kubernetes` section of a cluster file.

kubernetes:
    image: registry.example/clinical-modernbert:1
    volumes: {runs: /runs, packs: /packs}
    secrets: [s3-writer]
    rdma: {rdma/rdma_shared_device_a: 1}
    resources: {hugepages-2Mi: 5120Mi}
    service_account: trainer
    tolerations: {dedicated: training}
    pod: {containers: [{name: ranks, imagePullPolicy: Always}]}
"""

import re
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, field_validator

_QUANTITY = re.compile(r"\d+(\.\d+)?(m|k|[KMGTPE]i?)?")
"""Of a resource, such as 96, 500m or 5120Mi."""
OVERLAY_LISTS = {
    "containers": "name", "initContainers": "name", "env": "name", "volumes": "name", "imagePullSecrets": "name",
    "volumeMounts": "mountPath", "ports": "containerPort",
}  # fmt: skip
"""The lists of a pod whose entries a strategic merge joins, and the key by which it finds them."""


class KubernetesConfig(BaseModel):
    """Existing objects of the cluster, and resources of a pod. Only the run itself is created."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: str = Field(description="container image with this package installed")
    kind: Literal["JobSet", "TrainJob"] = Field(
        "JobSet", description="what is created; TrainJob: of Kubeflow Trainer, which makes the JobSet"
    )
    namespace: str | None = Field(None, description="null: the current namespace of kubectl")
    volumes: dict[str, str] = Field(
        default_factory=dict,
        description="persistent volume claim -> directory in the pods, shared by all pods",
    )
    secrets: tuple[str, ...] = Field((), description="secrets whose keys become environment variables")
    pass_secret: str | None = Field(None, description="secret with a key for each name in pass_env")
    gpu_resource: str = Field("nvidia.com/gpu", description="resource name of the device plugin, such as amd.com/gpu")
    rdma: dict[str, PositiveInt] = Field(
        default_factory=dict, description="adapters per pod, such as {vpc.amazonaws.com/efa: 32}"
    )
    cpu: str | None = Field(None, description="requested per pod, such as '96'")
    memory: str | None = Field(None, description="requested per pod, such as 900Gi")
    shared_memory: str = Field("64Gi", description="size of /dev/shm, which counts towards the memory of the pod")
    grace_seconds: PositiveInt = Field(300, description="time to save a checkpoint when a pod is terminated")
    max_restarts: NonNegativeInt = Field(
        3, description="restarts after crashes; preemption and requested stops do not count"
    )
    exclude: tuple[str, ...] = Field((), description="host names of nodes to exclude")
    node_selector: dict[str, str] = Field(default_factory=dict, description="labels that nodes must have")
    queue: str | None = Field(None, description="local queue in Kueue")
    priority_class: str | None = None
    topology: str | None = Field(None, description="node label, such as a rack's: the run gets one rack exclusively")
    resources: dict[str, int | str] = Field(
        default_factory=dict, description="further limits per pod, such as {hugepages-2Mi: 5120Mi}"
    )
    share_nodes: bool = Field(False, description="whether pods of other runs may be on the same nodes")
    service_account: str | None = Field(None, description="of the pods; null: the default of the namespace")
    image_pull_secrets: tuple[str, ...] = Field((), description="secrets of registries")
    tolerations: dict[str, str | None] = Field(
        default_factory=dict, description="taint -> value of nodes that may be used; null: any value"
    )
    annotations: dict[str, str] = Field(default_factory=dict, description="of the pods")
    pod: dict[str, Any] = Field(
        default_factory=dict,
        description="anything else of a pod's spec, merged into it as `kubectl patch` does: lists of containers, "
        "volumes, env and volumeMounts by name or path, any other list replaced; the container is `ranks`",
    )

    @field_validator("resources")
    @classmethod
    def _check_resources(cls, resources: dict[str, int | str]) -> dict[str, int | str]:
        for name, quantity in resources.items():
            if not _QUANTITY.fullmatch(str(quantity)):
                raise ValueError(f"{name}: expected a quantity, such as 4, 500m or 5120Mi, got {quantity!r}")
        return resources

    @field_validator("pod")
    @classmethod
    def _check_pod(cls, pod: dict[str, Any]) -> dict[str, Any]:
        """Entries of merged lists have the key by which they are found."""
        for name, entries in _lists(pod):
            key = OVERLAY_LISTS[name]
            if not (isinstance(entries, list) and all(isinstance(one, dict) and key in one for one in entries)):
                raise ValueError(f"{name}: expected a list whose entries have `{key}`")
        return pod


def _lists(value: Any) -> list[tuple[str, Any]]:
    """All lists in a pod that are merged, by their names."""
    if isinstance(value, list):
        return [found for one in value for found in _lists(one)]
    if not isinstance(value, dict):
        return []
    own = [(name, child) for name, child in value.items() if name in OVERLAY_LISTS]
    return own + [found for child in value.values() for found in _lists(child)]


def overlay(base: Any, patch: Any, name: str = "") -> Any:
    """A strategic merge: `patch` over `base`, in which null removes a key."""
    if isinstance(base, dict) and isinstance(patch, dict):
        merged = {key: overlay(base.get(key), value, key) for key, value in patch.items()}
        return {key: value for key, value in {**base, **merged}.items() if value is not None}
    if isinstance(base, list) and isinstance(patch, list) and name in OVERLAY_LISTS:
        key = OVERLAY_LISTS[name]
        patches = {one[key]: one for one in patch}
        joined = [overlay(one, patches.pop(one.get(key), {})) for one in base]
        return [*joined, *patches.values()]
    return patch
