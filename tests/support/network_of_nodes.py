"""Ranks on "nodes" of this machine: each has a host name and a network of its own, whose link may be slow.

python tests/support/network_of_nodes.py '{"ranks": [1, 1, 1], "rates": {"2": "100mbit"}, "faults": {}}'

prints what `between_nodes` finds, as JSON. It needs the right to make namespaces, and runs inside one of its own:
`unshare --net` before it.
"""

import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

_CLONE_NEWUTS, _CLONE_NEWNET = 0x04000000, 0x40000000
_ADDRESS = "10.77.0.{}"
ROUND_SECONDS = 8.0
FAULTS: dict[str, Callable[[Any, Any], None]] = {
    "stops": lambda between, torch: _replace_exchange(between, lambda *_: os.kill(os.getpid(), signal.SIGSTOP)),
    "hangs": lambda between, torch: _replace_exchange(between, lambda *_: time.sleep(600)),
    "computes wrong sums": lambda between, torch: _spoil_received(torch.distributed),
}
"""What may be wrong with all ranks of a node."""


def can_limit_links() -> bool:
    """Whether this user may make networks, with links of a given rate."""
    if not all(map(shutil.which, ("unshare", "ip", "tc"))):
        return False
    tried = "ip link add v0 type veth && tc qdisc add dev v0 root tbf rate 1gbit burst 64kb latency 50ms"
    tried += " && ip link add b0 type bridge"
    return subprocess.run(["unshare", "--net", "sh", "-c", tried], capture_output=True).returncode == 0


def find(
    ranks: Sequence[int], rates: Mapping[int, str] | None = None, faults: Mapping[int, str] | None = None
) -> tuple[dict[str, Any], float]:
    """What `between_nodes` finds, and the seconds in which it did.

    Args:
        ranks: of each node.
        rates: into a node, as tc writes them.
        faults: keys of `FAULTS`, by node.
    """
    settings = json.dumps({"ranks": ranks, "rates": rates or {}, "faults": faults or {}})
    command = ["unshare", "--net", sys.executable, __file__, settings]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    finding, seconds = json.loads(done.stdout.splitlines()[-1])
    return finding, seconds


def _main(ranks: Sequence[int], rates: Mapping[str, str], faults: Mapping[str, str]) -> None:
    import torch

    from clinical_modernbert.launcher.doctor import between

    between.ROUND_SECONDS = ROUND_SECONDS
    torch.set_num_threads(1)
    _run("ip link add b0 type bridge", "ip link set b0 up")
    namespaces = [_make_node(node, rates.get(str(node))) for node in range(len(ranks))]
    children: list[int] = []
    for node, count in enumerate(ranks):
        for _ in range(count):
            if (child := os.fork()) == 0:
                os.environ |= {"RANK": str(len(children)), "WORLD_SIZE": str(sum(ranks))}
                _enter(namespaces[node])
                if fault := faults.get(str(node)):
                    FAULTS[fault](between, torch)
                _rank()
            children.append(child)
    # Rank 0 ends after those that it waits for. Others may be stopped.
    _, status = os.waitpid(children[0], 0)
    for child in children[1:]:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    for namespace in namespaces:
        os.kill(namespace, signal.SIGKILL)
    sys.exit(os.waitstatus_to_exitcode(status))


def _rank() -> None:
    import torch

    from clinical_modernbert.launcher.doctor import between, ranks

    os.environ |= {"MASTER_ADDR": _ADDRESS.format(1), "MASTER_PORT": "29500", "GLOO_SOCKET_IFNAME": "eth0"}
    ranks.join_process_group()
    started = time.monotonic()
    found = between.between_nodes(torch.device("cpu"))
    if found and os.environ["RANK"] == "0":
        print(json.dumps((vars(found[0]) | {"silent": found[1]}, time.monotonic() - started)), flush=True)
    os._exit(0)


def _make_node(node: int, rate: str | None) -> int:
    """Make a node's namespaces and its link to the bridge; returns the process that keeps them."""
    keeper = os.fork()
    if keeper == 0:
        assert ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWUTS | _CLONE_NEWNET) == 0
        name = f"node{node}".encode()
        assert ctypes.CDLL(None).sethostname(name, len(name)) == 0
        signal.pause()
    own = Path("/proc/self/ns/net").stat().st_ino
    while Path(f"/proc/{keeper}/ns/net").stat().st_ino == own:
        time.sleep(0.01)
    inside = f"nsenter --target {keeper} --net"
    _run(
        f"ip link add v{node} type veth peer name eth0 netns {keeper}",
        f"ip link set v{node} master b0 up",
        f"{inside} ip address add {_ADDRESS.format(node + 1)}/24 dev eth0",
        f"{inside} ip link set eth0 up",
        f"{inside} ip link set lo up",
    )
    if rate:
        _run(f"tc qdisc add dev v{node} root tbf rate {rate} burst 64kb latency 50ms")
    return keeper


def _enter(keeper: int) -> None:
    for kind in ("net", "uts"):
        with open(f"/proc/{keeper}/ns/{kind}") as namespace:
            assert ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), 0) == 0


def _replace_exchange(between: Any, exchange: Callable[..., object]) -> None:
    between._exchange = exchange


def _spoil_received(dist: Any) -> None:
    exact = dist.recv

    def recv(tensor: Any, source: int) -> None:
        exact(tensor, source)
        tensor[7] += 1

    dist.recv = recv


def _run(*commands: str) -> None:
    for command in commands:
        subprocess.run(command.split(), check=True, capture_output=True)


if __name__ == "__main__":
    _main(**json.loads(sys.argv[1]))
