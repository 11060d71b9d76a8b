"""The network, storage and failures of a cluster, as `cmbert plan` assumes them. Nothing here changes a run."""

from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat

if TYPE_CHECKING:
    from ...training.planning.fabric import Fabric, Site

KINDS = {
    "infiniband": "infiniband-400x8",
    "tcp": "100gbe",
    "efa": "efa",
    "slingshot": "slingshot-200x4",
}
"""What a cluster's `fabric` is taken for where `network` does not say more."""
GB = 1e9


class NetworkConfig(BaseModel):
    """What `cmbert plan` calculates with; null: the fabric's value, or an assumption that docs/planning.md lists."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fabric: str | None = Field(None, description="one that `cmbert plan` knows, such as infiniband-200x8")
    node_bandwidth: PositiveFloat | None = Field(None, description="GB/s out of a node that collectives reach")
    latency: PositiveFloat | None = Field(None, description="microseconds of a hop between nodes")
    link_bandwidth: PositiveFloat | None = Field(None, description="GB/s between the GPUs of a node, in one direction")
    store_bandwidth: PositiveFloat | None = Field(None, description="GB/s that a node downloads from the object store")
    store_total: PositiveFloat | None = Field(None, description="GB/s of the object store to all nodes together")
    disk_bandwidth: PositiveFloat | None = Field(None, description="GB/s that a node writes to the disk of checkpoints")
    mtbf: PositiveFloat | None = Field(None, description="hours between failures of one node")

    def over(self, other: "NetworkConfig") -> "NetworkConfig":
        """These values, and the other's where there is none. A named fabric brings its own numbers."""
        replaced = {"node_bandwidth": None, "latency": None} if self.fabric else {}
        return NetworkConfig(**{**other.model_dump(), **replaced, **self.model_dump(exclude_none=True)})

    def site(self, kind: str | None) -> "Site":
        """The site that these values describe; `kind` is the cluster's `fabric`.

        Raises:
            UserError: there is no fabric of this name.
        """
        from ...training.planning.fabric import Site

        usual = Site(self._fabric(kind))
        return replace(
            usual,
            store=GB * self.store_bandwidth if self.store_bandwidth else usual.store,
            store_total=GB * self.store_total if self.store_total else usual.store_total,
            disk=GB * self.disk_bandwidth if self.disk_bandwidth else usual.disk,
            mtbf=3600 * self.mtbf if self.mtbf else usual.mtbf,
        )

    def _fabric(self, kind: str | None) -> "Fabric":
        from ...training.planning.fabric import DEFAULT, find_fabric

        fabric = find_fabric(self.fabric or (KINDS[kind] if kind else DEFAULT))
        if self.node_bandwidth is None and self.latency is None:
            return fabric
        return replace(
            fabric,
            name=fabric.name if self.fabric else "described fabric",
            node=fabric.node if self.node_bandwidth is None else GB * self.node_bandwidth,
            latency=fabric.latency if self.latency is None else self.latency / 1e6,
            source="options of the command, or the cluster's file",
        )
