"""Networks between nodes, and what else a site gives a run: storage, and nodes that fail.

The rates of a fabric are those that collectives are assumed to reach, below the adapters' own. None was measured here:
`source` says what each rests on. `cmbert plan` takes other numbers from its options or the cluster's file.
"""

from collections.abc import Callable
from dataclasses import dataclass

from ...configs.errors import UserError
from ...configs.spelling import did_you_mean
from .devices import Gpu

LINK_SHARE = 0.8
"""Of the links between the GPUs of a node, the share that collectives reach: assumed (360 of NVLink's 450 GB/s)."""
LINK_LATENCY = 1.5e-6
"""Seconds of a hop inside a node: NCCL's own model has 0.6 to 1.9 us for NVLink (src/graph/tuning.cc)."""
LAUNCH = 10e-6
"""Seconds until a collective begins on the device: assumed."""
GPU_MTBF = 50_000 * 3600.0
"""Seconds between failures of a GPU: 419 interruptions in 54 days on 16,384 (Llama 3, arXiv 2407.21783)."""


@dataclass(frozen=True)
class Fabric:
    """A network between nodes.

    Attributes:
        node: bytes per second out of a node, and into it, with all its adapters.
        latency: seconds of a hop between nodes.
    """

    name: str
    node: float
    latency: float
    source: str


_IB = "92 % of the adapters' rate, assumed; a hop as in NCCL's model (2.7 to 14 us, src/graph/tuning.cc)"
_TCP = "92 % of the line rate, through the host's kernel, assumed"
FABRICS = (
    Fabric("infiniband-800x8", 736e9, 5e-6, f"8 XDR adapters of 800 Gbit/s: {_IB}"),
    Fabric("infiniband-400x8", 368e9, 5e-6, f"8 NDR adapters of 400 Gbit/s, as in a DGX H100: {_IB}"),
    Fabric("infiniband-400x4", 184e9, 5e-6, f"4 NDR adapters of 400 Gbit/s: {_IB}"),
    Fabric("infiniband-200x8", 184e9, 5e-6, f"8 HDR adapters of 200 Gbit/s, as in a DGX A100: {_IB}"),
    Fabric("infiniband-200x4", 92e9, 5e-6, f"4 HDR adapters of 200 Gbit/s: {_IB}"),
    Fabric("infiniband-200x1", 23e9, 5e-6, f"one HDR adapter of 200 Gbit/s: {_IB}"),
    Fabric("infiniband-100x1", 11.5e9, 5e-6, f"one EDR adapter of 100 Gbit/s: {_IB}"),
    Fabric("roce-400x8", 340e9, 8e-6, "8 adapters of 400 Gbit/s; 85 % reached, assumed"),
    Fabric("efa", 288e9, 17e-6, "Amazon EC2 P5, 32 EFA adapters with 3,200 Gbit/s; 72 % reached, assumed"),
    Fabric("efa-400", 36e9, 17e-6, "Amazon EC2 P4d, 4 EFA adapters with 400 Gbit/s; 72 % reached, assumed"),
    Fabric("efa-100", 9e9, 17e-6, "Amazon EC2 G5, an EFA adapter of 100 Gbit/s; 72 % reached, assumed"),
    Fabric("gpudirect-tcpxo", 160e9, 20e-6, "Google A3 Mega, 8 adapters of 200 Gbit/s; 80 % reached, assumed"),
    Fabric("slingshot-200x4", 88e9, 8e-6, "4 Slingshot 11 adapters of 200 Gbit/s; 88 % reached, assumed"),
    Fabric("400gbe", 46e9, 20e-6, _TCP),
    Fabric("200gbe", 23e9, 20e-6, _TCP),
    Fabric("100gbe", 11.5e9, 20e-6, _TCP),
    Fabric("25gbe", 2.9e9, 25e-6, _TCP),
    Fabric("10gbe", 1.15e9, 30e-6, _TCP),
)
DEFAULT = "infiniband-400x8"


def find_fabric(name: str) -> Fabric:
    """The fabric of this name.

    Raises:
        UserError: there is none, with those that there are.
    """
    names = [fabric.name for fabric in FABRICS]
    if name.lower() not in names:
        hint = did_you_mean(name, names) or "."
        raise UserError(
            f"{name}: unknown fabric{hint} Set --fabric to one of {', '.join(names)}, or describe it with "
            "--node-bandwidth and --latency"
        )
    return FABRICS[names.index(name.lower())]


IN_LANES = 1.2
"""Data sets that the store sends to all nodes together per epoch: 1 to 1.12 as simulated, 1.21 with shards of 64 MB
(docs/streaming.md)."""


def in_lanes(nodes: int) -> float:
    """Downloads of an epoch by all nodes together, in data sets: a node reads the shards of its own packs."""
    return min(float(nodes), IN_LANES)


def in_windows(nodes: int) -> float:
    """The same of packs that are shuffled in windows: each node uses packs of nearly all shards."""
    return float(nodes)


@dataclass(frozen=True)
class Site:
    """Where a run takes place. Rates without a source are assumed.

    Attributes:
        store: bytes per second that a node downloads from the object store.
        store_total: bytes per second that the store gives all nodes together.
        disk: bytes per second that a node writes to the disk of checkpoints, or reads from it.
        mtbf: seconds between failures of one node; None: `GPU_MTBF` for each of its GPUs.
        downloads: of an epoch by so many nodes together, in data sets.
    """

    fabric: Fabric
    store: float = 1.25e9
    store_total: float = 100e9
    disk: float = 1e9
    mtbf: float | None = None
    downloads: Callable[[int], float] = in_lanes


@dataclass(frozen=True)
class Network:
    """What connects the ranks of a run.

    Attributes:
        local: ranks per node.
        link: bytes per second that collectives reach out of a GPU, inside a node.
    """

    nodes: int
    local: int
    link: float
    fabric: Fabric

    @property
    def ranks(self) -> int:
        return self.nodes * self.local

    def within(self, ranks: int) -> "Network":
        """The network of a group of neighboring ranks."""
        local = min(ranks, self.local)
        return Network(max(1, ranks // local), local, self.link, self.fabric)


def network_of(gpu: Gpu, fabric: Fabric, nodes: int, local: int) -> Network:
    """The network of `local` GPUs in each of `nodes` nodes."""
    return Network(nodes, local, LINK_SHARE * gpu.link, fabric)


@dataclass(frozen=True)
class Deployment:
    """How a run is deployed at a site.

    Attributes:
        save_every: steps between checkpoints.
        hang: seconds after which a rank without progress ends the run, from those of a step.
        cached: bytes of the data set, if the cache of a node holds all of it; 0: unknown, or it holds less.
    """

    site: Site
    nodes: int
    save_every: int
    hang: Callable[[float], float]
    cached: float = 0.0
