"""Checks of GPUs, their driver, and the results of the kernels on them."""

import csv
import io
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ...configs.progress import Progress
from .finding import Finding, Status, abbreviate

if TYPE_CHECKING:
    import torch

_REPLACE = "Exclude this node from the run and have its GPU reset or replaced."
_RESET = "Reset the GPU when nothing runs on it (nvidia-smi --gpu-reset, or a reboot)."
_ERRORS: tuple[tuple[str, str, Status, str, str], ...] = (
    ("gpu", "ecc.errors.uncorrected.volatile.total", "failed", "uncorrected errors", _REPLACE),
    ("gpu", "retired_pages.pending", "failed", "pages pending retirement", _RESET),
    ("remapped-rows", "remapped_rows.pending", "warning", "rows pending remapping", _RESET),
    ("remapped-rows", "remapped_rows.failure", "failed", "rows that failed remapping", _REPLACE),
)
"""GPUs before Ampere retire pages, later ones remap rows. A pending remap does not affect running work (NVML,
nvmlDeviceGetRemappedRows)."""


def gpus(devices: Path = Path("/dev")) -> Iterator[Finding]:
    """Check the node's GPUs and their memory errors with nvidia-smi."""
    present = list(devices.glob("nvidia[0-9]*"))
    try:
        rows = _nvidia_smi("gpu", "name,memory.total,driver_version")
    except subprocess.CalledProcessError as error:
        yield Finding("GPUs", "failed", f"nvidia-smi: {(error.stdout or error.stderr).strip()[:200]}", _REPLACE)
        return
    except (OSError, subprocess.TimeoutExpired) as error:
        if present:
            why = "does not answer" if isinstance(error, subprocess.TimeoutExpired) else "cannot be run"
            yield Finding("GPUs", "failed", f"{len(present)} in {devices}, nvidia-smi {why}", _REPLACE)
        elif not list(devices.glob("kfd")):
            yield Finding("GPUs", "warning", "none", "Training runs on the CPU, which suits only small tests.")
        return
    names = sorted({f"{name}, {memory} MiB, driver {driver}" for name, memory, driver in rows})
    result = f"{len(rows)} x " + "; ".join(names)
    equal = len(names) == 1
    yield Finding("GPUs", "ok", result) if equal else Finding("GPUs", "warning", result, "Use equal GPUs in one run.")
    yield from _memory_errors()


def _nvidia_smi(kind: str, fields: str) -> list[list[str]]:
    """Return one row per GPU. Raises CalledProcessError if there is none, and what `subprocess.run` raises."""
    command = ["nvidia-smi", f"--query-{kind}={fields}", "--format=csv,noheader,nounits"]
    output = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    rows = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(output.stdout))]
    if complete := [row for row in rows if len(row) == fields.count(",") + 1]:
        return complete
    raise subprocess.CalledProcessError(0, command, output.stdout, output.stderr)


def _memory_errors() -> Iterator[Finding]:
    """Query each field separately, because a driver that does not know one field rejects the complete query."""
    absent, any_errors = [], False
    for kind, field, status, errors, advice in _ERRORS:
        try:
            rows = _nvidia_smi(kind, f"gpu_bus_id,{field}")
        except (OSError, subprocess.SubprocessError):
            continue
        if bad := [f"GPU {gpu} ({value})" for gpu, value in rows if _is_error(value)]:
            any_errors = True
            yield Finding("ECC", status, f"{errors}: {', '.join(bad)}", advice)
        elif all(value in ("No", "0") for _, value in rows):
            absent.append(errors)
    if not any_errors:
        yield Finding("ECC", "ok", f"no {' or '.join(absent)}" if absent else "these GPUs report no error counts")


def _is_error(value: str) -> bool:
    return value == "Yes" or (value.isdecimal() and int(value) > 0)


def cuda(devices: Path = Path("/dev")) -> Finding:
    """Check that torch can use the GPUs for which an NVIDIA or AMD driver is loaded."""
    import torch

    version = torch.__version__
    built = f"CUDA {torch.version.cuda}" if torch.version.cuda else torch.version.hip and f"ROCm {torch.version.hip}"
    if torch.cuda.is_available():
        nccl = ".".join(map(str, torch.cuda.nccl.version())) if torch.cuda.nccl.is_available([]) else "none"
        return Finding("torch", "ok", f"{version}, {built}, NCCL {nccl}, {torch.cuda.device_count()} GPUs")
    present = [str(path) for name in ("nvidia[0-9]*", "kfd") for path in devices.glob(name)]
    if not present:
        return Finding("torch", "ok", f"{version}, on the CPU")
    if not built:
        result = f"{version} is built for CPUs, but {abbreviate(present)} exists"
        return Finding("torch", "failed", result, "Install a build of torch for this GPU.")
    advice = f"The driver is too old for {built}, or the GPUs are hidden by CUDA_VISIBLE_DEVICES or a job without GPUs."
    return Finding("torch", "failed", f"{version} sees no GPU, but {abbreviate(present)} exists", advice)


def rank_device() -> "torch.device":
    """Return the GPU of this rank, or the CPU."""
    import torch

    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


def attention(device: "torch.device") -> Finding:
    """Report which backend computes attention on a device, in bf16 and heads of 64, as the recipes have."""
    import torch

    from ...kernels.attention.dispatch import explain_backends

    return Finding(f"attention on {device}", "ok", "; ".join(explain_backends(device, torch.bfloat16, 64)))


def kernels(device: "torch.device") -> Finding:
    """Compare every kernel on a device with its reference."""
    from ...kernels.verify.self_test import self_test

    check = f"kernels on {device}"
    results = []
    with Progress("testing kernels", unit="checks") as progress:
        for one in self_test(device):
            results.append(one)
            progress.advance()
    # An error of a driver, a compiler or the GPU.
    if errors := [f"{one.kernel} in {one.dtype}: {one.error[:200]}" for one in results if one.error]:
        return Finding(check, "failed", "; ".join(errors), "A run would fail in the same way.")
    if wrong := [f"{one.kernel} in {one.dtype}" for one in results if not one.passed]:
        return Finding(check, "failed", "wrong results: " + "; ".join(wrong), _REPLACE)
    return Finding(check, "ok", f"{len(results)} checks within their tolerance")
