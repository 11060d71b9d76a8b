"""Checks that need all ranks: that they connect, compute exact sums, at what bandwidth, and whether clocks agree."""

import os
import socket
import time
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from ...configs.errors import UserError
from ...training.nodes.disks import blind_nodes, disk_leaders
from ...training.nodes.node import gather_all
from .between import between_nodes
from .exchange import NETWORK, summarize, with_timeout
from .finding import Finding, abbreviate

JOIN_TIMEOUT = timedelta(seconds=120)
EXCHANGE_SECONDS = 90.0
"""Less than JOIN_TIMEOUT: a rank whose exchange fails at once waits at most JOIN_TIMEOUT for the results of others."""
_ROUNDS = 5


def join_process_group() -> None:
    """Connect all ranks in the process group that the environment describes. Raises whatever prevents that.

    Objects are exchanged over gloo even on GPUs: if NCCL fails later, all ranks can still report their findings.
    """
    if not torch.cuda.is_available() and os.environ.get("LOCAL_WORLD_SIZE") == os.environ["WORLD_SIZE"]:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    # Otherwise a failure of NCCL ends the process.
    os.environ["TORCH_NCCL_ASYNC_ERROR_HANDLING"] = "0"
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=JOIN_TIMEOUT)
    dist.barrier()


def connection_failure(error: Exception) -> Finding:
    """Return the finding for an error of `join_process_group`."""
    result = f"{os.environ.get('WORLD_SIZE', 'the')} ranks cannot connect: {summarize(error)}"
    return Finding("ranks", "failed", result, NETWORK)


def collective_checks(device: torch.device, run_dir: Path | None) -> Iterator[Finding]:
    """Run the checks of all ranks together. Each rank must call it, with the device it would train on."""
    yield clocks(_clock_readings())
    if run_dir is not None:
        yield shared_disk(run_dir)
    if between := between_nodes(device):
        yield between[0]
        if between[0].status == "failed":  # the all-reduce would wait for the same nodes
            return
    yield all_reduce(device)


def _clock_readings() -> list[float]:
    """Read every rank's clock at the same moment, up to the duration of a barrier."""
    dist.barrier()
    return gather_all(time.time())


def clocks(readings: list[float]) -> Finding:
    """Check clock skew: it makes logs hard to read, and object stores reject requests that are 15 minutes off."""
    skew = max(readings) - min(readings)
    result = f"within {skew:.1f} s" if skew >= 0.1 else "within 0.1 s"
    advice = "Start chrony or ntpd on every node."
    if skew > 300:
        return Finding("clocks", "failed", f"{skew:,.0f} s apart", advice)
    return Finding("clocks", "warning", result, advice) if skew > 2 else Finding("clocks", "ok", result)


def shared_disk(directory: Path) -> Finding:
    """Check that all ranks see what rank 0 writes in an existing directory; a network file system has some seconds."""
    check = f"{directory} on all nodes"
    missing = [host for host, exists in gather_all((socket.gethostname(), directory.is_dir())) if not exists]
    if missing:
        return Finding(
            check, "failed", f"no such directory on {abbreviate(set(missing))}", "Make it, or mount its disk."
        )
    try:
        blind = blind_nodes(disk_leaders(directory))
    except UserError as error:
        return Finding(check, "failed", str(error), "Check its owner and mode, and the identity of the user there.")
    if blind:
        result = f"not the same directory: what rank 0 writes is not seen on {abbreviate(blind)}"
        return Finding(check, "failed", result, "Mount one disk on all nodes, or set checkpoint.upload.")
    return Finding(check, "ok", f"what rank 0 writes is seen by all {dist.get_world_size():,} ranks")


def all_reduce(device: torch.device) -> Finding:
    """Check that sums over all ranks are exact, and measure the bus bandwidth: bytes per second through each rank."""
    ranks = dist.get_world_size()
    megabytes = 256 if device.type == "cuda" else 16
    check = f"all-reduce of {ranks} {'GPUs' if device.type == 'cuda' else 'ranks'}"
    if ranks == 1:
        return Finding("all-reduce", "ok", "one rank: nothing to exchange")
    without = [f"rank {rank}" for rank, kind in enumerate(gather_all(device.type)) if kind == "cpu"]
    if 0 < len(without) < ranks:
        return Finding(check, "failed", f"no GPU on {abbreviate(without)}", "See the finding for torch there.")
    outcomes = gather_all(with_timeout(partial(_exchange, device, megabytes), EXCHANGE_SECONDS))
    if failures := _group_by_reason(outcomes):
        return Finding(check, "failed", failures, NETWORK)
    if wrong := [f"rank {rank}" for rank, (correct, _) in enumerate(outcomes) if not correct]:
        advice = "A GPU or its link is faulty: exclude it."
        return Finding(check, "failed", f"wrong sums on {abbreviate(wrong)}", advice)
    fastest = min(max(round_) for round_ in zip(*(seconds for _, seconds in outcomes), strict=True))
    speed = 2 * (ranks - 1) / ranks * megabytes * 2**20 / fastest / 1e9
    result = f"exact, {speed:.2f} GB/s through each rank ({megabytes} MiB)"
    if device.type == "cuda" and speed < 1:
        return Finding(check, "warning", result, f"`cmbert plan` shows what a run needs. {NETWORK}")
    return Finding(check, "ok", result)


def _exchange(device: torch.device, megabytes: int) -> tuple[bool, list[float]]:
    """Return whether a first sum is correct, and the seconds of each further sum, over the device's backend."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
    ranks = dist.get_world_size()
    tensor = torch.full((megabytes * 2**18,), float(dist.get_rank() + 1), device=device)
    dist.all_reduce(tensor)
    correct = bool((tensor == ranks * (ranks + 1) / 2).all())
    seconds = []
    for _ in range(_ROUNDS):
        started = time.perf_counter()
        dist.all_reduce(tensor)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - started)
    return correct, seconds


def _group_by_reason(outcomes: list[Any]) -> str:
    """List failed ranks by reason; empty if none failed."""
    ranks: dict[str, list[str]] = {}
    for rank, outcome in enumerate(outcomes):
        if isinstance(outcome, str):
            ranks.setdefault(outcome, []).append(f"rank {rank}")
    return "; ".join(f"{abbreviate(names)}: {reason}" for reason, names in ranks.items())
