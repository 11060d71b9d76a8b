"""Checks of GPUs, their driver, and what the kernels compute on them."""

import csv
import io
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from .doctor import Finding

if TYPE_CHECKING:
    import torch

_QUERY = "name,memory.total,driver_version,ecc.errors.uncorrected.volatile.total,retired_pages.pending"
_REPLACE = "Take this node out of the run and have its GPU reset or replaced."


def gpus(devices: Path = Path("/dev")) -> Iterator[Finding]:
    """What nvidia-smi tells of the node's GPUs and of their memory's errors."""
    present = list(devices.glob("nvidia[0-9]*"))
    try:
        told = subprocess.run(
            ["nvidia-smi", f"--query-gpu={_QUERY}", "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=60,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        if present:
            why = "does not answer" if isinstance(error, subprocess.TimeoutExpired) else "cannot be run"
            yield Finding("GPUs", "failed", f"{len(present)} in {devices}, nvidia-smi {why}", _REPLACE)
        elif not list(devices.glob("kfd")):
            yield Finding("GPUs", "warning", "none", "Training runs on the CPU: for trying out only.")
        return
    if told.returncode:
        yield Finding("GPUs", "failed", f"nvidia-smi: {(told.stdout or told.stderr).strip()[:200]}", _REPLACE)
        return
    rows = [[cell.strip() for cell in row] for row in csv.reader(io.StringIO(told.stdout)) if row]
    names = sorted({f"{name}, {memory} MiB, driver {driver}" for name, memory, driver, *_ in rows})
    found = f"{len(rows)} x " + "; ".join(names)
    yield (
        Finding("GPUs", "ok", found) if len(names) == 1 else Finding("GPUs", "warning", found, "Let a run have equals.")
    )
    yield _memory_errors(rows)


def _memory_errors(rows: list[list[str]]) -> Finding:
    bad = [
        f"GPU {number}: {errors} uncorrected errors, page retirement pending: {pending}"
        for number, (*_, errors, pending) in enumerate(rows)
        if (errors.isdecimal() and int(errors) > 0) or pending == "Yes"
    ]
    if bad:
        return Finding("ECC", "failed", "; ".join(bad), _REPLACE)
    silent = sum(not errors.isdecimal() for *_, errors, _ in rows)
    return Finding("ECC", "ok", "no uncorrected errors" if not silent else f"{silent} GPUs have none, or tell nothing")


def cuda(expected_gpus: int) -> Finding:
    """Whether torch can use the GPUs that are there."""
    import torch

    built = torch.version.cuda or (f"ROCm {torch.version.hip}" if torch.version.hip else None)
    if not torch.cuda.is_available():
        if not expected_gpus:
            return Finding("torch", "ok", f"{torch.__version__}, on the CPU")
        if built is None:
            return Finding("torch", "failed", f"{torch.__version__} is built for CPUs", "Install torch for this GPU.")
        advice = f"The driver is too old for CUDA {built}, or the GPUs are hidden (CUDA_VISIBLE_DEVICES)."
        return Finding("torch", "failed", f"{torch.__version__} sees none of {expected_gpus} GPUs", advice)
    nccl = ".".join(map(str, torch.cuda.nccl.version())) if torch.cuda.nccl.is_available([]) else "none"
    return Finding("torch", "ok", f"{torch.__version__}, CUDA {built}, NCCL {nccl}, {torch.cuda.device_count()} GPUs")


def kernels(device: "torch.device") -> Finding:
    """Every kernel on a device, against its reference."""
    from ..kernels.self_test import self_test

    check = f"kernels on {device}"
    try:
        done = list(self_test(device))
    except Exception as error:  # a driver, a compiler or the GPU itself: whatever it is, a run would meet it
        return Finding(check, "failed", f"{type(error).__name__}: {str(error)[:200]}", "A run would meet the same.")
    if wrong := [f"{one.kernel} in {one.dtype}" for one in done if not one.good]:
        return Finding(check, "failed", "wrong results: " + "; ".join(wrong), _REPLACE)
    return Finding(check, "ok", f"{len(done)} checks within their accuracy")
