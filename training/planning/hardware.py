"""What this process runs on: the device, its memory and its peak FLOPs."""

import os
import resource
import socket
from collections import Counter
from typing import TYPE_CHECKING

from .devices import find_gpu

if TYPE_CHECKING:
    import torch


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
