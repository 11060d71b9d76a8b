"""Checks of GPUs, their driver, and what the kernels compute on them."""

import csv
import io
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .finding import Finding, Status, few

if TYPE_CHECKING:
    import torch

_REPLACE = "Take this node out of the run and have its GPU reset or replaced."
_RESET = "Have the GPU reset when nothing runs on it (nvidia-smi --gpu-reset, or a reboot)."
_ERRORS: tuple[tuple[str, str, Status, str, str], ...] = (
    ("gpu", "ecc.errors.uncorrected.volatile.total", "failed", "uncorrected errors", _REPLACE),
    ("gpu", "retired_pages.pending", "failed", "pages to be retired", _RESET),
    ("remapped-rows", "remapped_rows.pending", "warning", "rows to be remapped", _RESET),
    ("remapped-rows", "remapped_rows.failure", "failed", "rows that cannot be remapped", _REPLACE),
)
"""Pages were retired before Ampere, rows are remapped since; one that waits to be does no harm to work meanwhile (NVML,
nvmlDeviceGetRemappedRows)."""


def gpus(devices: Path = Path("/dev")) -> Iterator[Finding]:
    """What nvidia-smi tells of the node's GPUs and of their memory's errors."""
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
            yield Finding("GPUs", "warning", "none", "Training runs on the CPU: for trying out only.")
        return
    names = sorted({f"{name}, {memory} MiB, driver {driver}" for name, memory, driver in rows})
    found = f"{len(rows)} x " + "; ".join(names)
    yield (
        Finding("GPUs", "ok", found) if len(names) == 1 else Finding("GPUs", "warning", found, "Let a run have equals.")
    )
    yield from _memory_errors()


def _nvidia_smi(kind: str, fields: str) -> list[list[str]]:
    """A row for each GPU. Raises CalledProcessError when it tells of none, and what `subprocess.run` does."""
    command = ["nvidia-smi", f"--query-{kind}={fields}", "--format=csv,noheader,nounits"]
    told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    rows = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(told.stdout))]
    if whole := [row for row in rows if len(row) == fields.count(",") + 1]:
        return whole
    raise subprocess.CalledProcessError(0, command, told.stdout, told.stderr)


def _memory_errors() -> Iterator[Finding]:
    """Each kind is asked for by itself, since a driver that does not know one refuses the whole question."""
    absent, found = [], False
    for kind, field, status, errors, advice in _ERRORS:
        try:
            rows = _nvidia_smi(kind, f"gpu_bus_id,{field}")
        except (OSError, subprocess.SubprocessError):
            continue
        if bad := [f"GPU {gpu} ({told})" for gpu, told in rows if told == "Yes" or (told.isdecimal() and int(told))]:
            found = True
            yield Finding("ECC", status, f"{errors}: {', '.join(bad)}", advice)
        elif all(told in ("No", "0") for _, told in rows):
            absent.append(errors)
    if not found:
        yield Finding("ECC", "ok", f"no {' or '.join(absent)}" if absent else "these GPUs tell nothing of errors")


def cuda(devices: Path = Path("/dev")) -> Finding:
    """Whether torch can use the GPUs whose drivers are there, NVIDIA's or AMD's."""
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
        found = f"{version} is built for CPUs, and there is {few(present)}"
        return Finding("torch", "failed", found, "Install torch for this GPU.")
    advice = f"The driver is too old for {built}, or the GPUs are hidden: CUDA_VISIBLE_DEVICES, or a job without GPUs."
    return Finding("torch", "failed", f"{version} sees no GPU, and there is {few(present)}", advice)


def of_rank() -> "torch.device":
    """The GPU of this rank, or the CPU."""
    import torch

    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


def kernels(device: "torch.device") -> Finding:
    """Every kernel on a device, against its reference."""
    from ...kernels.verify.self_test import self_test

    check = f"kernels on {device}"
    try:
        done = list(self_test(device))
    except Exception as error:  # a driver, a compiler or the GPU itself: whatever it is, a run would meet it
        return Finding(check, "failed", f"{type(error).__name__}: {str(error)[:200]}", "A run would meet the same.")
    if wrong := [f"{one.kernel} in {one.dtype}" for one in done if not one.passed]:
        return Finding(check, "failed", "wrong results: " + "; ".join(wrong), _REPLACE)
    return Finding(check, "ok", f"{len(done)} checks within their accuracy")
