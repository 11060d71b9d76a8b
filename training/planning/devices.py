"""GPUs as their manufacturers specify them, found by the names that drivers report and people write."""

import re
from dataclasses import dataclass, replace

from ...configs.errors import UserError
from ...configs.spelling import nearest_name

_PCIE_4, _PCIE_5 = 32e9, 64e9
"""Bytes per second in one direction of a slot with 16 lanes."""


@dataclass(frozen=True)
class Gpu:
    """A device as specified by its manufacturer.

    Attributes:
        name: words that occur in the name reported by the driver.
        peak: dense 16-bit FLOPs per second with 32-bit accumulation; half of the figures that include sparsity.
        memory: bytes.
        bandwidth: of the memory, in bytes per second.
        architecture: selects the tiles of the kernels.
        link: bytes per second that it sends to the other GPUs of its node, in one direction.
        source: the data sheet.
        also: further words in the driver's name, which do not mean another device.
    """

    name: str
    peak: float
    memory: float
    bandwidth: float
    architecture: str
    link: float
    source: str
    also: tuple[str, ...] = ()


_NVIDIA = "https://www.nvidia.com/en-us/data-center"
_AMD = "https://www.amd.com/en/products/accelerators/instinct"
_BLACKWELL = "https://nvdam.widen.net/s/wwnsxrhm2w/blackwell-datasheet-3384703"
_GRACE_HOPPER = "https://resources.nvidia.com/en-us-grace-cpu/grace-hopper-superchip"
_ADA = "NVIDIA Ada GPU Architecture, white paper v2"
# The data sheet of the B300 has 36 PFLOPS with sparsity for eight; boards of eight are sold with 2.1 to 2.3 TB.
# A link of NVLink is half of the figure that adds up both directions; it is PCIe where NVLink connects at most pairs.
GPUS = (
    Gpu("B300", 2250e12, 268e9, 8e12, "sm103", 900e9, f"{_NVIDIA}/hgx/", ("AC",)),
    Gpu("B200", 2250e12, 180e9, 8e12, "sm100", 900e9, _BLACKWELL),
    Gpu("GB200", 2500e12, 186e9, 8e12, "sm100", 900e9, f"{_NVIDIA}/gb200-nvl72/"),
    # The driver's name has the memory of its CPU. Four of them are a node, each pair with 300 GB/s in both directions.
    Gpu("GH200 144GB", 989.4e12, 144e9, 4.9e12, "sm90", 450e9, _GRACE_HOPPER),
    Gpu("GH200", 989.4e12, 96e9, 4e12, "sm90", 450e9, _GRACE_HOPPER, ("480GB", "120GB")),
    Gpu("H200 NVL", 835.5e12, 141e9, 4.8e12, "sm90", 450e9, f"{_NVIDIA}/h200/"),
    Gpu("H200", 989.4e12, 141e9, 4.8e12, "sm90", 450e9, f"{_NVIDIA}/h200/"),
    Gpu("H100 NVL", 835e12, 94e9, 3.9e12, "sm90", _PCIE_5, f"{_NVIDIA}/h100/"),
    Gpu("H100 PCIe", 756e12, 80e9, 2e12, "sm90", _PCIE_5, f"{_NVIDIA}/h100/"),
    Gpu("H100", 989.4e12, 80e9, 3.35e12, "sm90", 450e9, f"{_NVIDIA}/h100/"),
    # Not on a page of the manufacturer; the figures of its data sheet as server makers print them.
    Gpu("H20", 148e12, 96e9, 4e12, "sm90", 450e9, "NVIDIA H20 data sheet, as printed by server makers"),
    Gpu("A100 PCIe 40GB", 312e12, 40e9, 1.555e12, "sm80", _PCIE_4, f"{_NVIDIA}/a100/"),
    Gpu("A100 PCIe", 312e12, 80e9, 1.935e12, "sm80", _PCIE_4, f"{_NVIDIA}/a100/"),
    Gpu("A100 40GB", 312e12, 40e9, 1.555e12, "sm80", 300e9, f"{_NVIDIA}/a100/"),
    Gpu("A100", 312e12, 80e9, 2.039e12, "sm80", 300e9, f"{_NVIDIA}/a100/"),
    Gpu("L40S", 362e12, 48e9, 864e9, "sm89", _PCIE_4, "https://resources.nvidia.com/en-us-l40s/l40s-datasheet-28413"),
    Gpu("L40", 181e12, 48e9, 864e9, "sm89", _PCIE_4, f"{_NVIDIA}/l40/"),
    Gpu("L4", 121e12, 24e9, 300e9, "sm89", _PCIE_4, f"{_NVIDIA}/l4/"),
    Gpu("A10", 125e12, 24e9, 600e9, "sm86", _PCIE_4, f"{_NVIDIA}/products/a10-gpu/"),
    # Amazon's: with the A10's memory, and 35 TFLOPS of fp32 cores, 70 dense TFLOPS of tensor cores.
    Gpu("A10G", 70e12, 24e9, 600e9, "sm86", _PCIE_4, "NVIDIA A10G data sheet (Amazon EC2 G5)"),
    Gpu("A40", 149.7e12, 48e9, 696e9, "sm86", _PCIE_4, f"{_NVIDIA}/a40/"),
    Gpu("RTX A6000", 154.8e12, 48e9, 768e9, "sm86", _PCIE_4, "NVIDIA RTX A6000 data sheet"),
    Gpu("RTX 6000 Ada", 364.2e12, 48e9, 960e9, "sm89", _PCIE_4, _ADA),
    Gpu("RTX 4090", 165.2e12, 24e9, 1008e9, "sm89", _PCIE_4, _ADA),
    # Seven links of 64 GB/s in one direction to the seven others.
    Gpu("MI325X", 1307e12, 256e9, 6e12, "gfx942", 448e9, f"{_AMD}/mi300/mi325x.html", ("VF",)),
    Gpu("MI300X", 1307e12, 192e9, 5.3e12, "gfx942", 448e9, f"{_AMD}/mi300/mi300x.html", ("VF",)),
    # One of its two dies; PyTorch treats each as a device, and the driver reports "MI250X / MI250".
    Gpu("MI250X", 191.5e12, 64e9, 1.6e12, "gfx90a", 100e9, f"{_AMD}/mi200/mi250x.html", ("MI250",)),
    Gpu("MI250", 181e12, 64e9, 1.6e12, "gfx90a", 100e9, f"{_AMD}/mi200/mi250.html"),
)
_COMMON = {
    *("NVIDIA", "AMD", "INSTINCT", "TESLA", "GEFORCE", "RTX", "TENSOR", "CORE", "GPU", "GENERATION", "DGX", "HGX"),
    *("SXM", "SXM4", "SXM5", "SXM6", "OAM", "HBM2", "HBM2E", "HBM3", "HBM3E"),
}
"""Words of names that do not distinguish devices."""
_GIGABYTES = re.compile(r"(\d+)(?:GB?|GIB)?")


def find_gpu(name: str) -> Gpu | None:
    """The known device with this name, as the driver reports it or as people write it; None if there is none.

    Every word must belong to that device: `a100-40` is not the A100 with 80 GB, and a name with `MIG`, `Laptop` or a
    memory of another size is none of the known ones. Of several matches it is the first.
    """
    words = set(re.split(r"[\s_/()-]+", name.upper())) - {""}
    return next((gpu for gpu in GPUS if _is_named(gpu, words)), None)


def _is_named(gpu: Gpu, words: set[str]) -> bool:
    """Whether the words name this device, and nothing that it is not."""
    own = {word for word in gpu.name.upper().split() if word not in _COMMON}
    size = f"{gpu.memory / 1e9:.0f}"
    sizes = {word for word in words if (found := _GIGABYTES.fullmatch(word)) and found[1] == size}
    needed = {word for word in own if not word.endswith("GB")}
    if needed != own and not sizes:  # the memory distinguishes it from a device with more
        return False
    return needed <= words and words <= needed | sizes | _COMMON | set(gpu.also)


def describe_gpu(
    name: str | None, peak_tflops: float | None, memory_gb: float | None, bandwidth: float | None, link: float | None
) -> Gpu:
    """A device by its name, by numbers, or by both: numbers replace those of the data sheet.

    Args:
        peak_tflops: dense, in 16 bits.
        bandwidth, link: of the memory, and to the other GPUs of the node, in GB per second.
    Raises:
        UserError: the name is unknown and the numbers are incomplete.
    """
    gpu, numbers = find_gpu(name) if name else None, (peak_tflops, memory_gb, bandwidth)
    if gpu is None and None in numbers:
        raise UserError(_unknown(name, any(numbers)))
    if gpu is None:
        gpu = Gpu(name or "described GPU", 0, 0, 0, "sm80", _PCIE_4, "options of the command")
    elif not any((*numbers, link)):
        return gpu
    return replace(
        gpu,
        peak=1e12 * peak_tflops if peak_tflops else gpu.peak,
        memory=1e9 * memory_gb if memory_gb else gpu.memory,
        bandwidth=1e9 * bandwidth if bandwidth else gpu.bandwidth,
        link=1e9 * link if link else gpu.link,
        source=f"{gpu.source}, changed by options",
    )


def gpu_names() -> list[str]:
    """As people write them."""
    return [gpu.name.lower().replace(" ", "-") for gpu in GPUS]


def _unknown(name: str | None, described: bool) -> str:
    advice = f"to one of {', '.join(gpu_names())}, or describe the device with"
    options = "--peak-tflops (dense, 16 bits), --memory-gb and --memory-bandwidth (GB/s)"
    where = "--gpu, or `gpu` in the cluster's file,"
    if described:
        return f"an unknown device needs all of {options}; or set {where} {advice} them"
    if not name:
        return f"--gpu is required: set it, or `gpu` in the cluster's file, {advice} {options}"
    near = _nearest(name)
    return f"{name}: unknown GPU{f'; did you mean {near}? Set' if near else '; set'} {where} {advice} {options}"


def _nearest(name: str) -> str:
    """The variants of the same model, or else the name that is spelled most alike."""
    words = set(re.split(r"[\s_/()-]+", name.upper())) - _COMMON - {""}
    same = [known for known, gpu in zip(gpu_names(), GPUS, strict=True) if gpu.name.upper().split()[0] in words]
    return " or ".join(same) or nearest_name(name, gpu_names()) or ""
