"""Two or more "nodes" on this machine: each rank in a mount namespace, where the run directory is its node's own disk.

The disk of node N is the directory `nodeN`, mounted on the run directory's path. A test can look into it from outside,
and remove it, as if the node had been replaced.
"""

import ctypes
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from small_run import SmallRun
from warm_start import become_child, server

_CLONE_NEWNS, _CLONE_NEWUTS = 0x00020000, 0x04000000


def can_mount() -> bool:
    """Whether this user may make mount namespaces."""
    command = ["unshare", "--mount", "--uts", "true"]
    return shutil.which("unshare") is not None and subprocess.run(command, capture_output=True).returncode == 0


@dataclass
class Nodes:
    """A run with one rank per node.

    Attributes:
        disks: the rank's disk, by rank; ranks with the same share it.
    """

    run: SmallRun
    disks: Sequence[Path]

    def start(self, *overrides: str) -> list[ForkServerProcess]:
        self.run.run_dir.mkdir(exist_ok=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        settings = [f"run_dir={self.run.run_dir}", f"data.path={self.run.data}", *overrides]
        command = [
            "python",
            "train.py",
            "--config",
            str(self.run.recipe),
            *(part for each in settings for part in ("--set", each)),
        ]
        processes = []
        for rank, disk in enumerate(self.disks):
            disk.mkdir(exist_ok=True)
            environment = dict(os.environ) | {
                "RANK": str(rank),
                "LOCAL_RANK": "0",
                "WORLD_SIZE": str(len(self.disks)),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "OMP_NUM_THREADS": "1",
                "GLOO_SOCKET_IFNAME": "lo",
            }
            arguments = (command, environment, disk, self.run.run_dir, self.output(rank))
            processes.append(server().Process(target=_node, args=arguments))
            processes[-1].start()
        return processes

    def train(self, *overrides: str, code: int = 0) -> str:
        """Run to the end, assert the exit code of rank 0 and return its output."""
        processes = self.start(*overrides)
        join(processes)
        output = self.output(0).read_text()
        assert processes[0].exitcode == code, f"{[process.exitcode for process in processes]}: {output}"
        return output

    def output(self, rank: int) -> Path:
        return self.run.recipe.with_name(f"rank{rank}.txt")


def join(processes: Sequence[ForkServerProcess]) -> None:
    """Wait for the ranks. Without a launcher, nobody ends those that wait for a rank that failed."""
    deadline = time.monotonic() + 300
    while any(process.is_alive() for process in processes):
        failed = any(process.exitcode for process in processes)
        deadline = min(deadline, time.monotonic() + 30) if failed else deadline
        if time.monotonic() > deadline:
            for process in processes:
                process.kill()
        time.sleep(0.02)


def _node(command: list[str], environment: dict[str, str], disk: Path, run_dir: Path, output: Path) -> None:
    with output.open("w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNS | _CLONE_NEWUTS):
        raise OSError(ctypes.get_errno(), "unshare")
    socket.sethostname(disk.name)
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
    subprocess.run(["mount", "--bind", str(disk), str(run_dir)], check=True)
    become_child(command, environment, lambda: None)
