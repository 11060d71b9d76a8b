"""Checks that need all ranks: that they meet, add up right, how fast, and whether their clocks agree."""

import os
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from .doctor import Finding

JOIN = timedelta(seconds=120)
_ROUNDS = 5
_NETWORK = "See what NCCL says with NCCL_DEBUG=INFO; check the fabric's variables, firewalls and host names."


def join() -> Finding | None:
    """The process group that the environment describes; a finding if the ranks do not meet."""
    if not torch.cuda.is_available() and os.environ.get("LOCAL_WORLD_SIZE") == os.environ["WORLD_SIZE"]:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    try:
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=JOIN)
        dist.barrier()
    except Exception as error:  # whatever keeps the ranks apart
        ranks = os.environ["WORLD_SIZE"]
        return Finding("ranks", "failed", f"{ranks} ranks do not meet: {str(error).splitlines()[0][:200]}", _NETWORK)
    return None


def together() -> Iterator[Finding]:
    """Of all ranks; each must call it."""
    yield clocks(_clock_readings())
    device = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
    yield all_reduce(device)


def _clock_readings() -> list[float]:
    """Of every rank at one moment, to the time that a barrier takes."""
    dist.barrier()
    return gathered(time.time())


def clocks(readings: list[float]) -> Finding:
    """Clocks that differ make logs unreadable; object stores refuse requests that are 15 minutes off."""
    skew = max(readings) - min(readings)
    found = f"within {skew:.1f} s" if skew >= 0.1 else "within 0.1 s"
    advice = "Start chrony or ntpd on every node."
    if skew > 300:
        return Finding("clocks", "failed", f"{skew:,.0f} s apart", advice)
    return Finding("clocks", "warning", found, advice) if skew > 2 else Finding("clocks", "ok", found)


def all_reduce(device: torch.device) -> Finding:
    """Exact sums over all ranks, and the bandwidth of the bus: bytes that each rank sends and receives a second."""
    ranks, rank = dist.get_world_size(), dist.get_rank()
    megabytes = 256 if device.type == "cuda" else 16
    check = f"all-reduce of {ranks} {'GPUs' if device.type == 'cuda' else 'ranks'}"
    if ranks == 1:
        return Finding("all-reduce", "ok", "one rank: nothing to exchange")
    tensor = torch.empty(megabytes * 2**18, device=device)
    tensor.fill_(rank + 1)
    dist.all_reduce(tensor)
    right = gathered(bool((tensor == ranks * (ranks + 1) / 2).all()))
    seconds = []
    for _ in range(_ROUNDS):
        dist.barrier()
        started = time.perf_counter()
        dist.all_reduce(tensor)
        _wait(device)
        seconds.append(max(gathered(time.perf_counter() - started)))
    if not all(right):
        bad = ", ".join(str(number) for number, one in enumerate(right) if not one)
        return Finding(check, "failed", f"wrong sums on rank {bad}", "A GPU or its link is faulty: leave it out.")
    speed = 2 * (ranks - 1) / ranks * tensor.nbytes / min(seconds) / 1e9
    found = f"exact, {speed:.2f} GB/s through each rank ({megabytes} MiB)"
    if device.type == "cuda" and speed < 1:
        return Finding(check, "warning", found, f"`cmbert plan` says what a run needs. {_NETWORK}")
    return Finding(check, "ok", found)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def gathered(mine: Any) -> list[Any]:
    """What every rank says."""
    everyone = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, mine)
    return everyone
