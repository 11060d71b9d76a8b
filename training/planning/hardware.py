"""Device specifications (peak FLOPs, memory) and lookups."""

import os
import resource
import socket
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Gpu:
    """A device as specified by its manufacturer.

    Attributes:
        name: words that occur in the name reported by the driver.
        peak: dense 16-bit FLOPs per second with 32-bit accumulation; half of the figures that include sparsity.
        memory: bytes.
        bandwidth: of the memory, in bytes per second.
        architecture: selects the tiles of the kernels.
        source: the data sheet.
    """

    name: str
    peak: float
    memory: float
    bandwidth: float
    architecture: str
    source: str


_NVIDIA = "https://www.nvidia.com/en-us/data-center"
GPUS = (
    Gpu("B200", 2250e12, 180e9, 8e12, "sm100", "https://nvdam.widen.net/s/wwnsxrhm2w/blackwell-datasheet-3384703"),
    Gpu("H200", 989.4e12, 141e9, 4.8e12, "sm90", f"{_NVIDIA}/h200/"),
    Gpu("H100 NVL", 835e12, 94e9, 3.9e12, "sm90", f"{_NVIDIA}/h100/"),
    Gpu("H100 PCIe", 756e12, 80e9, 2e12, "sm90", f"{_NVIDIA}/h100/"),
    Gpu("H100", 989.4e12, 80e9, 3.35e12, "sm90", f"{_NVIDIA}/h100/"),
    Gpu("A100 40GB", 312e12, 40e9, 1.555e12, "sm80", f"{_NVIDIA}/a100/"),
    Gpu("A100", 312e12, 80e9, 2.039e12, "sm80", f"{_NVIDIA}/a100/"),
    Gpu("L40S", 362e12, 48e9, 864e9, "sm89", "https://resources.nvidia.com/en-us-l40s/l40s-datasheet-28413"),
    Gpu("L4", 121e12, 24e9, 300e9, "sm89", f"{_NVIDIA}/l4/"),
    Gpu("A10", 125e12, 24e9, 600e9, "sm86", f"{_NVIDIA}/products/a10-gpu/"),
    Gpu("A40", 149.7e12, 48e9, 696e9, "sm86", f"{_NVIDIA}/a40/"),
    Gpu("RTX 4090", 165.2e12, 24e9, 1008e9, "sm89", "NVIDIA Ada GPU Architecture, white paper v2"),
    Gpu(
        "MI300X",
        1307e12,
        192e9,
        5.3e12,
        "gfx942",
        "https://www.amd.com/en/products/accelerators/instinct/mi300/mi300x.html",
    ),
    # One of its two dies; PyTorch treats each as a device.
    Gpu(
        "MI250X",
        191.5e12,
        64e9,
        1.6e12,
        "gfx90a",
        "https://www.amd.com/en/products/accelerators/instinct/mi200/mi250x.html",
    ),
)


def find_gpu(name: str) -> Gpu | None:
    """Return the known device with this name, as the driver reports it or as people write it; None if unknown.

    Of several matches it is the most specific one.
    """
    words = set(name.upper().replace("-", " ").replace("_", " ").split())
    matches = [gpu for gpu in GPUS if set(gpu.name.upper().split()) <= words]
    return max(matches, key=lambda gpu: len(gpu.name)) if matches else None


def peak_flops(device_name: str, precision: str) -> float | None:
    """The published peak of a device, in FLOPs per second; None if it is not known."""
    gpu = find_gpu(device_name)
    return gpu.peak if gpu and precision != "fp32" else None


def device_name(device: "torch.device") -> str:
    if device.type != "cuda":
        return "CPU"
    import torch

    return torch.cuda.get_device_name(device)


def memory_and_nodes(device: "torch.device") -> tuple[float, int]:
    """What the ranks of a run have: (bytes of the smallest rank's device, number of nodes), the same on every rank.

    Ranks on CPUs share the memory of their node. Every rank calls it.
    """
    import torch

    if device.type == "cuda":
        memory = float(torch.cuda.get_device_properties(device).total_memory)
    else:
        memory = float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    found: list[tuple[str, float]] = [("", 0.0)] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(found, (socket.gethostname(), memory))
    ranks = Counter(node for node, _ in found)
    return min(each if device.type == "cuda" else each / ranks[node] for node, each in found), len(ranks)


def peak_memory(device: "torch.device") -> float:
    """Peak memory in GiB since the start: of this rank's tensors on a GPU, of the process on a CPU machine."""
    if device.type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated(device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
