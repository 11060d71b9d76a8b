"""What Kubernetes is asked for: the `kubernetes` section of a cluster's file.

kubernetes:
    image: registry.example/clinical-modernbert:1
    volumes: {runs: /runs, packs: /packs}
    secrets: [s3-writer]
    rdma: {rdma/rdma_shared_device_a: 1}
"""

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt


class KubernetesConfig(BaseModel):
    """Names of things that the cluster has; nothing is made but the run itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: str = Field(description="container image with this package installed")
    namespace: str | None = Field(None, description="null: the one kubectl is set to")
    volumes: dict[str, str] = Field(
        default_factory=dict, description="persistent volume claim -> directory in the pods, readable by all of them"
    )
    secrets: tuple[str, ...] = Field((), description="secrets whose keys become environment variables")
    pass_secret: str | None = Field(None, description="secret that has a key for each name in pass_env")
    gpu_resource: str = Field("nvidia.com/gpu", description="as the device plugin calls them; amd.com/gpu")
    rdma: dict[str, PositiveInt] = Field(
        default_factory=dict, description="adapters of a pod, such as {vpc.amazonaws.com/efa: 32}"
    )
    cpu: str | None = Field(None, description="requested for a pod, such as '96'")
    memory: str | None = Field(None, description="requested for a pod, such as 900Gi")
    shared_memory: str = Field("64Gi", description="size of /dev/shm, which counts as memory of the pod")
    grace_seconds: PositiveInt = Field(300, description="to save a checkpoint in, when a pod is told to go")
    max_restarts: NonNegativeInt = Field(3, description="after crashes; preemption and stops as asked do not count")
    exclude: tuple[str, ...] = Field((), description="host names of nodes not to run on")
    node_selector: dict[str, str] = Field(default_factory=dict, description="labels that nodes must have")
    queue: str | None = Field(None, description="local queue of Kueue")
    priority_class: str | None = None
    topology: str | None = Field(None, description="node label, such as a rack's, of which a run has one for itself")
