"""The `kubernetes` section of a cluster file.

kubernetes:
    image: registry.example/clinical-modernbert:1
    volumes: {runs: /runs, packs: /packs}
    secrets: [s3-writer]
    rdma: {rdma/rdma_shared_device_a: 1}
"""

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt


class KubernetesConfig(BaseModel):
    """Existing objects of the cluster, and resources of a pod. Only the run itself is created."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: str = Field(description="container image with this package installed")
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
