"""Devices are found by the names that drivers report and people write, and never taken for one another."""

import re

import pytest

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.training.planning.devices import GPUS, describe_gpu, find_gpu, gpu_names

NAMES = {
    "NVIDIA A100-SXM4-40GB": "A100 40GB",
    "NVIDIA A100-SXM4-80GB": "A100",
    "NVIDIA A100-PCIE-40GB": "A100 PCIe 40GB",
    "NVIDIA A100 80GB PCIe": "A100 PCIe",
    "a100-40": "A100 40GB",
    "a100-40g": "A100 40GB",
    "a100_80gb": "A100",
    "NVIDIA H100 80GB HBM3": "H100",
    "NVIDIA H100 PCIe": "H100 PCIe",
    "NVIDIA H100 NVL": "H100 NVL",
    "NVIDIA GH200 480GB": "GH200",
    "NVIDIA GH200 144G HBM3e": "GH200 144GB",
    "NVIDIA H20": "H20",
    "NVIDIA B300 SXM6 AC": "B300",
    "NVIDIA A10G": "A10G",
    "NVIDIA L40": "L40",
    "NVIDIA RTX A6000": "RTX A6000",
    "NVIDIA RTX 6000 Ada Generation": "RTX 6000 Ada",
    "AMD Instinct MI325X": "MI325X",
    "AMD Instinct MI300X VF": "MI300X",
    "AMD Instinct MI250X / MI250": "MI250X",
    # A slice, a laptop's, an export variant, one with another memory: the data sheet of none of ours.
    "NVIDIA H100 80GB HBM3 MIG 3g.40gb": None,
    "NVIDIA GeForce RTX 4090 Laptop GPU": None,
    "NVIDIA GeForce RTX 4090 D": None,
    "NVIDIA A100-SXM-64GB": None,
    "NVIDIA A100X": None,
    "h100-96gb": None,
    "l40s-24gb": None,
    "h100 h200": None,
    "80GB": None,
    "": None,
}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_that_device_or_none(name: str) -> None:
    found = find_gpu(name)
    assert (found.name if found else None) == NAMES[name]


def test_every_device_is_found_by_its_own_name_and_no_other() -> None:
    assert [find_gpu(gpu.name) for gpu in GPUS] == list(GPUS)
    assert [find_gpu(name) for name in gpu_names()] == list(GPUS)
    for gpu in GPUS:
        size = f"{gpu.memory / 1e9:.0f}"
        with_size = find_gpu(f"{gpu.name} {size}GB")
        assert with_size is gpu, f"{gpu.name} with its own memory is {with_size}"
        other = find_gpu(f"{gpu.name} {int(size) // 2 + 1}")
        assert other is None or other.memory != gpu.memory


def test_every_device_has_all_numbers_and_a_source() -> None:
    for gpu in GPUS:
        assert 50e12 < gpu.peak < 5e15, gpu
        assert 20e9 < gpu.memory < 400e9, gpu
        assert 250e9 < gpu.bandwidth < 20e12, gpu
        assert 30e9 < gpu.link < 2e12, gpu
        assert gpu.source


def test_numbers_describe_a_device() -> None:
    described = describe_gpu("mi999", 500, 64, 2000, None)
    assert (described.name, described.peak, described.memory, described.bandwidth) == ("mi999", 500e12, 64e9, 2e12)
    changed = describe_gpu("h100", None, None, None, 64)
    assert (changed.name, changed.peak, changed.link) == ("H100", 989.4e12, 64e9)
    assert describe_gpu("h100", None, None, None, None) is find_gpu("h100")


@pytest.mark.parametrize(
    ("name", "numbers", "message"),
    [
        (None, (None, None, None), "--gpu is required: set it, or `gpu` in the cluster's file"),
        ("a100-64gb", (None, None, None), "did you mean a100-pcie-40gb or a100-pcie or a100-40gb or a100?"),
        ("h1000", (None, None, None), "h1000: unknown GPU; did you mean h100?"),
        ("voodoo", (12, None, 5), "an unknown device needs all of --peak-tflops"),
    ],
)
def test_unknown_devices_are_refused_with_the_nearest_names(
    name: str | None, numbers: tuple[float | None, float | None, float | None], message: str
) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        describe_gpu(name, *numbers, None)
