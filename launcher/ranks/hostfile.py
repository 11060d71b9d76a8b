"""Run ranks on several hosts over ssh; they end with the launcher.

Each host runs `hostfile_node.py`, which starts its ranks as `cmbert train` would. The request and every signal are sent
through the stdin of the ssh connection. Therefore nothing needs quoting, values of environment variables appear in no
process list, and when the connection ends for any reason, the ranks save a checkpoint and end.
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
from threading import Timer
from typing import Any

from ...configs.errors import UserError
from .local import Rendezvous, collect_signals, kill, start_child, supervise

_LINE = re.compile(r"(\S+)\s+slots=(\d+)")
# After a minute without an answer the host is considered lost, and the connection ends, and with it the ranks.
_SSH_OPTIONS = ("-o", "BatchMode=yes", "-o", "ServerAliveInterval=15", "-o", "ServerAliveCountMax=4")
_KILL_SECONDS = 10.0
_NODE = "clinical_modernbert.launcher.ranks.hostfile_node"


def read_hostfile(path: Path) -> dict[str, int]:
    """Read {host: ranks}, in order, from DeepSpeed's format: one `node1 slots=8` per line; `#` starts a comment."""
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
            raise UserError(f"{path}:{number}: {match[1]} is listed twice: put all its slots on one line")
        hosts[match[1]] = int(match[2])
    if not hosts:
        raise UserError(f"{path}: no hosts: expected lines such as node1 slots=8")
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
    """Run `command` once per rank on every host and wait for all; signals and exit codes are those of `run_ranks`.

    Args:
        hosts: {host: ranks}; the host as ssh reaches it.
        env: added to the environment that the ssh servers provide.
        pythonpath: where every host finds this package.
        setup: shell lines to run on every host first; the launch fails if one fails.
        address: the host of rank 0, as the others reach it; None: its name in `hosts`.
        port: a free port there.
        ssh: the ssh command with any options.
    """
    start = f"exec env PYTHONPATH={shlex.quote(str(pythonpath))} {shlex.quote(sys.executable)} -m {_NODE}"
    if setup:
        start = "\n".join(["set -e", *setup, start])
    address = address or next(iter(hosts)).rpartition("@")[2]
    received: list[int] = []
    with ExitStack() as cleanup:
        cleanup.enter_context(collect_signals(received))
        running: dict[str, RemoteRanks] = {}
        first_rank = 0
        for host, ranks in hosts.items():
            rendezvous = Rendezvous(first_rank, sum(hosts.values()), address, port)
            request = {"command": list(command), "ranks": ranks, "env": dict(env), "directory": os.getcwd()}
            request["rendezvous"] = vars(rendezvous)
            remote = RemoteRanks([*shlex.split(ssh), *_SSH_OPTIONS, host, start], request)
            cleanup.callback(kill, remote)
            running[f"host {host}"] = remote
            first_rank += ranks
        return supervise(running, received, grace)


class RemoteRanks:
    """The ranks of one host, with the interface of Popen. Signals are sent as lines.

    After SIGKILL, a connection that does not end is closed. The ranks of a connection that is closed save and end.
    """

    def __init__(self, ssh: Sequence[str], request: Mapping[str, Any]) -> None:
        self._ssh = start_child(ssh, stdin=subprocess.PIPE, text=True)
        self.pid = self._ssh.pid
        self._send_line(json.dumps(request))

    def poll(self) -> int | None:
        return self._ssh.poll()

    def wait(self) -> int:
        return self._ssh.wait()

    def send_signal(self, number: int) -> None:
        self._send_line(signal.Signals(number).name)
        if number == signal.SIGKILL:
            timer = Timer(_KILL_SECONDS, self.kill)
            timer.daemon = True
            timer.start()

    def kill(self) -> None:
        self._ssh.kill()

    def _send_line(self, line: str) -> None:
        assert self._ssh.stdin is not None
        # `poll` reports a process that has ended.
        with suppress(BrokenPipeError):
            self._ssh.stdin.write(f"{line}\n")
            self._ssh.stdin.flush()
