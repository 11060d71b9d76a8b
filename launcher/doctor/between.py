"""The network between nodes: each node exchanges with several others in turn, so that a slow or silent one is named.

An all-reduce of all ranks is as slow as its slowest node, and does not say which that is. Here nodes are paired, in
about log2(nodes) rounds, and all pairs of a round exchange at the same time: each rank with the rank of the same number
on the other node. A node that is slow is slow with all its partners, and they only with it.

Each round ends at a fixed time after the common start, so that a rank that waited for a silent one is in time for the
next round. Results pass through the store of the process group, which does not wait for silent ranks.
"""

import json
import math
import os
import socket
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from datetime import timedelta
from functools import partial
from statistics import median, median_high
from typing import Any

import torch
import torch.distributed as dist

from ...training.nodes.node import gather_all
from .exchange import NETWORK, with_timeout
from .finding import Finding, abbreviate

ROUND_SECONDS = 10.0
MEGABYTES = {"cuda": 64, "cpu": 8}
REPEATS = 5
SECONDS = 1.0
"""For all of these; on a slower network they are fewer, or only 1 MiB."""
SLOW = 0.5
"""Of the median of all nodes: whatever has less is named."""
_KEY = "between nodes"
Meeting = tuple[int, float | None, str]
"""Number of the round; seconds per MiB there and back, or None and why there was none."""


def between_nodes(device: torch.device) -> tuple[Finding, list[str]] | None:
    """Check that pairs of nodes compute exact sums, and compare their bandwidths; each rank must call it.

    Returns:
        The finding, and the nodes that do not exchange with most of their partners, unless none does. None: there is
        one node.
    """
    # SLURM's name may be another than the host's.
    hosts = gather_all((os.environ.get("SLURMD_NODENAME") or socket.gethostname(), device.type))
    names = list(dict.fromkeys(name for name, _ in hosts))
    if len(names) == 1 or len({kind for _, kind in hosts}) > 1:
        return None
    nodes = [[rank for rank, (host, _) in enumerate(hosts) if host == name] for name in names]
    start, store, rank = time.monotonic(), dist.distributed_c10d._get_default_store(), dist.get_rank()
    turns = pairs_of_nodes(len(nodes))
    meetings = []
    for number, pairs in enumerate(turns):
        if (partner := _partner(nodes, pairs, rank)) is not None:
            deadline = start + (number + 1) * ROUND_SECONDS
            outcome = _meet(store, device, number, partner, deadline)
            meetings.append((number, None, outcome) if isinstance(outcome, str) else (number, outcome, ""))
    store.set(f"{_KEY}/{rank}", json.dumps(meetings))
    end = start + len(turns) * ROUND_SECONDS
    if rank == 0:
        found = {other: _read(store, f"{_KEY}/{other}", end + 1) for other in range(len(hosts))}
        finding, silent = judge(names, nodes, found)
        store.set(_KEY, json.dumps((asdict(finding), silent)))
        for other in (other for other, meetings in found.items() if other and meetings is not None):
            _read(store, f"{_KEY}/told/{other}", time.monotonic() + 5, parse=False)  # the store ends with this process
        return finding, silent
    if told := _read(store, _KEY, end + ROUND_SECONDS):
        store.set(f"{_KEY}/told/{rank}", "")
        return Finding(**told[0]), told[1]
    return Finding(f"between {len(names)} nodes", "failed", "no answer of rank 0", NETWORK), []


def pairs_of_nodes(nodes: int) -> list[list[tuple[int, int]]]:
    """The pairs of each round, as in a tournament: a node has one partner in a round, and another in each round.

    All of them up to four nodes; otherwise log2(nodes) rounds, which are 7 for 128 nodes.
    """
    places = nodes + nodes % 2
    number = min(places - 1, max(3, math.ceil(math.log2(nodes))))
    found = []
    for turn in range(number):
        circle = [0, *(1 + (place + turn) % (places - 1) for place in range(places - 1))]
        pairs = (sorted((circle[place], circle[-1 - place])) for place in range(places // 2))
        found.append([(first, second) for first, second in pairs if second < nodes])
    return found


def judge(
    names: Sequence[str], nodes: Sequence[Sequence[int]], found: dict[int, list[Meeting] | None]
) -> tuple[Finding, list[str]]:
    """Name nodes that do not exchange, or are slow, with most of their partners; and list the former, unless it is all.

    Args:
        nodes: the ranks of each node.
        found: the meetings of each rank; None: it told nothing.
    """
    check, turns = f"between {len(names)} nodes", pairs_of_nodes(len(nodes))
    rates: dict[tuple[int, int], float] = {}
    reasons: dict[int, str] = {}
    for number, pair in ((number, pair) for number, pairs in enumerate(turns) for pair in pairs):
        longest = 0.0
        for node in pair:
            for rank in nodes[node][: _width(nodes)]:
                told = {turn: (seconds, why) for turn, seconds, why in found[rank] or ()}
                seconds, why = told.get(number, (None, "no answer"))
                longest = max(longest, math.inf if seconds is None else seconds)
                reasons |= {node: reasons.get(node, why)} if why else {}
        rates[pair] = _width(nodes) * 2 * 2**20 / longest / 1e9
    usual = {node: median_high(rate for pair, rate in rates.items() if node in pair) for node in range(len(nodes))}
    if 0 in rates.values():
        silent = [node for node in usual if usual[node] == 0]
        others = [pair for pair, rate in rates.items() if rate == 0 and not {*silent} & {*pair}]
        parts = [f"no exchange with {abbreviate(names[node] for node in silent)}"] if silent else []
        parts += [f"none between {names[first]} and {names[second]}" for first, second in others[:3]]
        why = next(reasons[node] for node in (*silent, *sum(others, ())) if node in reasons)
        advice = f"Exclude it if others work. {NETWORK}"
        faulty = [names[node] for node in silent] if len(silent) < len(names) else []
        return Finding(check, "failed", f"{'; '.join(parts)}: {why}", advice), faulty
    middle = median(usual.values())
    rounds = f"{len(turns)} round{'s' * (len(turns) > 1)} of pairs"
    slowest = sorted(usual, key=lambda node: usual[node])
    if slow := [node for node in slowest if usual[node] < SLOW * middle]:
        which = ", ".join(f"{names[node]} {usual[node]:.3g} GB/s" for node in slow[:3])
        more = f" and {len(slow) - 3} more" if len(slow) > 3 else ""
        advice = "Compare its adapters and cables with those of others, or exclude it: all ranks wait for the slowest."
        return Finding(check, "warning", f"slow: {which}{more}; the median is {middle:.3g} ({rounds})", advice), []
    least = f"{usual[slowest[0]]:.3g} of {names[slowest[0]]}"
    return Finding(check, "ok", f"exact, {middle:.3g} GB/s out of a node, {least} ({rounds})"), []


def _width(nodes: Sequence[Sequence[int]]) -> int:
    """Ranks of a node that have a partner on every other node."""
    return min(map(len, nodes))


def _partner(nodes: Sequence[Sequence[int]], pairs: Sequence[tuple[int, int]], rank: int) -> int | None:
    for pair in pairs:
        for own, other in (pair, pair[::-1]):
            if rank in nodes[own][: _width(nodes)]:
                return nodes[other][nodes[own].index(rank)]
    return None


def _meet(store: Any, device: torch.device, number: int, partner: int, deadline: float) -> float | str:
    """Exchange with the partner: seconds, or why not."""
    rank = dist.get_rank()
    store.set(f"{_KEY}/{number}/{rank}", "here")
    if _read(store, f"{_KEY}/{number}/{partner}", deadline, parse=False) is None:
        return "no answer"
    return with_timeout(partial(_exchange, device, partner), _left(deadline))


def _exchange(device: torch.device, partner: int) -> float | str:
    """Seconds per MiB there and back, of the fastest exchange; why there are none, if one was not exact.

    With send and receive, NCCL connects two ranks without the others, whatever they wait for.
    """
    on_gpu, first = device.type == "cuda", dist.get_rank() < partner
    if on_gpu:
        torch.cuda.set_device(device)
    # A stream of its own: the exchange of another round may hang in the default one.
    with torch.cuda.stream(torch.cuda.Stream(device)) if on_gpu else nullcontext():
        _swap(device, partner, 1)  # connects
        exact, seconds = _swap(device, partner, 1)
        # On a slow network 1 MiB must do.
        times = torch.tensor([min(REPEATS, int(SECONDS / seconds / MEGABYTES[device.type]))], device=device)
        if first:
            dist.send(times, partner)
        else:
            dist.recv(times, partner)
        larger = [_swap(device, partner, MEGABYTES[device.type]) for _ in range(int(times))]
    if not exact or not all(each for each, _ in larger):
        return "wrong sums"
    return min([each / MEGABYTES[device.type] for _, each in larger], default=seconds)


def _swap(device: torch.device, partner: int, megabytes: int) -> tuple[bool, float]:
    """(whether the sum of both ranks' numbers is exact, seconds) of sending `megabytes` there and back."""
    rank = dist.get_rank()
    pattern = torch.arange(megabytes * 2**18, device=device, dtype=torch.float32) % 256
    own, theirs = pattern * (rank + 1), torch.zeros_like(pattern)
    _synchronize(device)
    started = time.perf_counter()
    for sender in sorted((rank, partner)):
        if sender == rank:
            dist.send(own, partner)
        else:
            dist.recv(theirs, partner)
    _synchronize(device)
    seconds = time.perf_counter() - started
    return torch.equal(own + theirs, pattern * (rank + partner + 2)), seconds


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.current_stream().synchronize()


def _left(deadline: float) -> float:
    return max(0.01, deadline - time.monotonic())


def _read(store: Any, key: str, deadline: float, parse: bool = True) -> Any:
    """What a rank has written, or None if it has not by then."""
    try:
        store.wait([key], timedelta(seconds=_left(deadline)))
    except dist.DistStoreError:
        return None
    return json.loads(store.get(key)) if parse else True
