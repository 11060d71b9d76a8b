"""The ranks of one run on several hosts, started by ssh and ended with the launcher.

Each host runs `hostfile_node.py`, which starts its ranks as `cmbert train` would. It is told what to do, and every
signal, down the connection's stdin: so nothing is quoted, values of the environment appear in no process list, and when
the connection ends, for whatever reason, the ranks end too.
"""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from ...configs.errors import UserError
from .local import Place, kill, noting_signals, start_bound, watch

_LINE = re.compile(r"(\S+)\s+slots=(\d+)")
# A host that does not answer for a minute is lost; the connection, and with it the ranks, ends.
_SSH_OPTIONS = ("-o", "BatchMode=yes", "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4")
_NODE = "clinical_modernbert.launcher.ranks.hostfile_node"


def read_hostfile(path: Path) -> dict[str, int]:
    """Ranks by host, in order, from DeepSpeed's format: `node1 slots=8`, a host a line, `#` begins a comment."""
    hosts: dict[str, int] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error
    for number, line in enumerate(lines, 1):
        text = line.partition("#")[0].strip()
        if not text:
            continue
        match = _LINE.fullmatch(text)
        if not match or int(match[2]) < 1:
            raise UserError(f"{path}:{number}: expected HOST slots=N, such as node1 slots=8, got {text!r}")
        if match[1] in hosts:
            raise UserError(f"{path}:{number}: {match[1]} is there twice: give it all its slots in one line")
        hosts[match[1]] = int(match[2])
    if not hosts:
        raise UserError(f"{path}: names no host: expected lines such as node1 slots=8")
    return hosts


def run_on_hosts(
    hosts: Mapping[str, int],
    command: Sequence[str],
    env: Mapping[str, str],
    *,
    pythonpath: Path,
    setup: Sequence[str] = (),
    address: str | None = None,
    port: int = 29500,
    ssh: str = "ssh",
    grace: float = 30.0,
) -> int:
    """Runs `command` once a rank on every host, and waits for all of them; signals and exit codes as `run_ranks`.

    Args:
        hosts: ranks by host, as ssh is to reach it.
        env: added to what the hosts' ssh servers give.
        pythonpath: where every host finds this package.
        setup: shell lines on every host before; one that fails ends it.
        address: of rank 0's host, as the others reach it; None: its name in `hosts`.
        port: free there.
        ssh: the command, with options of your own.
    """
    start = f"exec env PYTHONPATH={shlex.quote(str(pythonpath))} {shlex.quote(sys.executable)} -m {_NODE}"
    if setup:
        start = "\n".join(["set -e", *setup, start])
    address = address or next(iter(hosts)).rpartition("@")[2]
    received: list[int] = []
    with ExitStack() as cleanup:
        cleanup.enter_context(noting_signals(received))
        running: dict[str, RemoteRanks] = {}
        first_rank = 0
        for host, ranks in hosts.items():
            place = Place(first_rank, sum(hosts.values()), address, port)
            orders = {"command": list(command), "ranks": ranks, "env": dict(env), "directory": os.getcwd()}
            remote = RemoteRanks([*shlex.split(ssh), *_SSH_OPTIONS, host, start], {**orders, "place": vars(place)})
            cleanup.callback(kill, remote)
            running[f"host {host}"] = remote
            first_rank += ranks
        return watch(running, received, grace)


class RemoteRanks:
    """The ranks of one host, with what `watch` needs of Popen. A signal is a line; SIGKILL is the connection's end."""

    def __init__(self, ssh: Sequence[str], orders: Mapping[str, Any]) -> None:
        self._ssh = start_bound(ssh, stdin=subprocess.PIPE, text=True)
        self.pid = self._ssh.pid
        self._say(json.dumps(orders))

    def poll(self) -> int | None:
        return self._ssh.poll()

    def wait(self) -> int:
        return self._ssh.wait()

    def send_signal(self, number: int) -> None:
        if number == signal.SIGKILL:
            self.kill()
        else:
            self._say(signal.Signals(number).name)

    def kill(self) -> None:
        self._ssh.kill()

    def _say(self, line: str) -> None:
        assert self._ssh.stdin is not None
        # One that has ended is found by `poll`.
        with suppress(BrokenPipeError):
            self._ssh.stdin.write(f"{line}\n")
            self._ssh.stdin.flush()
