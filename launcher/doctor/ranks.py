"""Checks that need all ranks: that they meet, add up right, how fast, and whether their clocks agree."""

import os
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from threading import Thread
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from .finding import Finding, few

_T = TypeVar("_T")
JOIN = timedelta(seconds=120)
EXCHANGE_SECONDS = 90.0
"""Less than JOIN: a rank whose exchange failed at once waits for the others' answers no longer than that."""
_ROUNDS = 5
_NETWORK = "See what NCCL says with NCCL_DEBUG=INFO; check the fabric's variables, firewalls and host names."


def join() -> None:
    """Meet all ranks in the process group that the environment describes.

    By gloo, even on GPUs: what NCCL cannot do is found later, and all ranks can still tell what they found. Raises what
    keeps the ranks apart.
    """
    if not torch.cuda.is_available() and os.environ.get("LOCAL_WORLD_SIZE") == os.environ["WORLD_SIZE"]:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    # else a failure of NCCL ends the process
    os.environ["TORCH_NCCL_ASYNC_ERROR_HANDLING"] = "0"
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=JOIN)
    dist.barrier()


def apart(error: Exception) -> Finding:
    """What kept this rank from the others."""
    found = f"{os.environ.get('WORLD_SIZE', 'the')} ranks do not meet: {_in_short(error)}"
    return Finding("ranks", "failed", found, _NETWORK)


def together(device: torch.device) -> Iterator[Finding]:
    """Of all ranks; each must call it, with the device it would train on."""
    yield clocks(_clock_readings())
    yield all_reduce(device)


def _clock_readings() -> list[float]:
    """Of every rank at one moment, to the time that a barrier takes."""
    dist.barrier()
    return all_gather(time.time())


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
    ranks = dist.get_world_size()
    megabytes = 256 if device.type == "cuda" else 16
    check = f"all-reduce of {ranks} {'GPUs' if device.type == 'cuda' else 'ranks'}"
    if ranks == 1:
        return Finding("all-reduce", "ok", "one rank: nothing to exchange")
    without = [f"rank {rank}" for rank, kind in enumerate(all_gather(device.type)) if kind == "cpu"]
    if 0 < len(without) < ranks:
        return Finding(check, "failed", f"no GPU on {few(without)}", "See what is said of torch there.")
    outcomes = all_gather(_in_time(partial(_exchange, device, megabytes)))
    if found := _by_reason(outcomes):
        return Finding(check, "failed", found, _NETWORK)
    if wrong := [f"rank {rank}" for rank, (right, _) in enumerate(outcomes) if not right]:
        return Finding(check, "failed", f"wrong sums on {few(wrong)}", "A GPU or its link is faulty: leave it out.")
    fastest = min(max(round_) for round_ in zip(*(seconds for _, seconds in outcomes), strict=True))
    speed = 2 * (ranks - 1) / ranks * megabytes * 2**20 / fastest / 1e9
    found = f"exact, {speed:.2f} GB/s through each rank ({megabytes} MiB)"
    if device.type == "cuda" and speed < 1:
        return Finding(check, "warning", found, f"`cmbert plan` says what a run needs. {_NETWORK}")
    return Finding(check, "ok", found)


def _exchange(device: torch.device, megabytes: int) -> tuple[bool, list[float]]:
    """Whether a first sum is right, and the seconds of each further one. It uses no backend but the device's."""
    if device.type == "cuda":
        torch.cuda.set_device(device)
    ranks = dist.get_world_size()
    tensor = torch.full((megabytes * 2**18,), float(dist.get_rank() + 1), device=device)
    dist.all_reduce(tensor)
    right = bool((tensor == ranks * (ranks + 1) / 2).all())
    seconds = []
    for _ in range(_ROUNDS):
        started = time.perf_counter()
        dist.all_reduce(tensor)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - started)
    return right, seconds


def _in_time(exchange: Callable[[], _T]) -> _T | str:
    """What it returns, or in words why it does not: NCCL raises, or waits for ever for a rank on which it raised."""
    outcome: list[_T | str] = []

    def run() -> None:
        try:
            outcome.append(exchange())
        except Exception as error:  # a driver's, a fabric's or the GPU's
            outcome.append(_in_short(error))

    thread = Thread(target=run, daemon=True)
    thread.start()
    thread.join(EXCHANGE_SECONDS)
    return outcome[0] if outcome else f"no answer within {EXCHANGE_SECONDS:.0f} s"


def _by_reason(outcomes: list[Any]) -> str:
    """Which ranks failed and why; those without a word have none."""
    ranks: dict[str, list[str]] = {}
    for rank, outcome in enumerate(outcomes):
        if isinstance(outcome, str):
            ranks.setdefault(outcome, []).append(f"rank {rank}")
    return "; ".join(f"{few(names)}: {reason}" for reason, names in ranks.items())


def _in_short(error: Exception) -> str:
    """Its first line, or where NCCL tells it, what happened last."""
    line = str(error).rpartition("Last error:")[2].strip().partition("\n")[0]
    return f"{type(error).__name__}: {line[:200]}"


def all_gather(mine: Any) -> list[Any]:
    """What every rank says."""
    everyone = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, mine)
    return everyone
