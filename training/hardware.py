"""What is known of the device that a rank computes on."""

import resource

import torch

_PEAKS = {
    "B200": 2250e12,
    "H200": 989.4e12,
    "H100 PCIe": 756e12,
    "H100 NVL": 835e12,
    "H100": 989.4e12,
    "GH200": 989.4e12,
    "A100": 312e12,
    "L40S": 362e12,
    "L4": 121e12,
    "A10G": 70e12,
    "A10": 125e12,
    "A40": 149.7e12,
    "RTX 4090": 165.2e12,
    "RTX 3090": 71e12,
    "MI300X": 1307e12,
    "MI250X": 191.5e12,
}
"""Dense FLOPs a second in 16 bits with 32-bit sums, from the makers' data sheets; of MI250X one of its two dies."""


def peak_flops(device_name: str, precision: str) -> float | None:
    """The published peak of a device, from its longest name in the table; None if it is not known."""
    words = device_name.replace("-", " ").split()
    fitting = [name for name in _PEAKS if set(name.split()) <= set(words)]
    return _PEAKS[max(fitting, key=len)] if fitting and precision != "fp32" else None


def device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


def peak_memory(device: torch.device) -> float:
    """GiB: the most that this rank's tensors took on a GPU, or the process on a CPU machine, since it started."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
