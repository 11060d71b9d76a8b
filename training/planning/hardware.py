"""What is known of the device that a rank computes on."""

import resource
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Gpu:
    """A device as its maker describes it.

    Attributes:
        name: words that occur in the name which the driver gives.
        peak: dense FLOPs a second in 16 bits with 32-bit sums. Where a data sheet counts sparsity, half of its figure.
        memory: bytes.
        source: where the figures stand.
    """

    name: str
    peak: float
    memory: float
    source: str


_NVIDIA = "https://www.nvidia.com/en-us/data-center"
GPUS = (
    Gpu("B200", 2250e12, 180e9, "https://nvdam.widen.net/s/wwnsxrhm2w/blackwell-datasheet-3384703"),
    Gpu("H200", 989.4e12, 141e9, f"{_NVIDIA}/h200/"),
    Gpu("H100 NVL", 835e12, 94e9, f"{_NVIDIA}/h100/"),
    Gpu("H100 PCIe", 756e12, 80e9, f"{_NVIDIA}/h100/"),
    Gpu("H100", 989.4e12, 80e9, f"{_NVIDIA}/h100/"),
    Gpu("A100 40GB", 312e12, 40e9, f"{_NVIDIA}/a100/"),
    Gpu("A100", 312e12, 80e9, f"{_NVIDIA}/a100/"),
    Gpu("L40S", 362e12, 48e9, "https://resources.nvidia.com/en-us-l40s/l40s-datasheet-28413"),
    Gpu("L4", 121e12, 24e9, f"{_NVIDIA}/l4/"),
    Gpu("A10", 125e12, 24e9, f"{_NVIDIA}/products/a10-gpu/"),
    Gpu("A40", 149.7e12, 48e9, f"{_NVIDIA}/a40/"),
    Gpu("RTX 4090", 165.2e12, 24e9, "NVIDIA Ada GPU Architecture, white paper v2"),
    Gpu("MI300X", 1307e12, 192e9, "https://www.amd.com/en/products/accelerators/instinct/mi300/mi300x.html"),
    # One of its two dies, which PyTorch sees as a device.
    Gpu("MI250X", 191.5e12, 64e9, "https://www.amd.com/en/products/accelerators/instinct/mi200/mi250x.html"),
)


def find_gpu(name: str) -> Gpu | None:
    """The known device that a name means: that of the driver, or one as people write it; the longest that fits."""
    words = set(name.upper().replace("-", " ").replace("_", " ").split())
    fitting = [gpu for gpu in GPUS if set(gpu.name.upper().split()) <= words]
    return max(fitting, key=lambda gpu: len(gpu.name)) if fitting else None


def peak_flops(device_name: str, precision: str) -> float | None:
    """The published peak of a device; None if it is not known."""
    gpu = find_gpu(device_name)
    return gpu.peak if gpu and precision != "fp32" else None


def device_name(device: "torch.device") -> str:
    if device.type != "cuda":
        return "CPU"
    import torch

    return torch.cuda.get_device_name(device)


def peak_memory(device: "torch.device") -> float:
    """GiB: the most that this rank's tensors took on a GPU, or the process on a CPU machine, since it started."""
    if device.type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated(device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
