"""`deepspeed --hostfile`, whose default is pdsh, with real ssh connections to two hosts: both are this machine."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from marked import MARK, await_end, marked
from small_run import CMBERT, SmallRun
from ssh_server import SshServer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("pdsh") is None, reason="no pdsh here: apt-get install pdsh"),
]
PATIENCE = 200


@dataclass
class Hosts:
    """The directory in which `deepspeed` is called."""

    directory: Path
    mark: str

    def start(self, run: SmallRun, entry: Path, *settings: str) -> subprocess.Popen:
        # DeepSpeed ends its processes on the hosts by their command line, which must not be that of another test.
        (self.directory / "venv").symlink_to(sys.prefix)
        deepspeed = [str(self.directory / "venv/bin/python"), "-m", "deepspeed.launcher.runner", "--hostfile", "hosts"]
        deepspeed += ["--master_addr", "127.0.0.1", "--master_port", "29761"]
        settings = (f"run_dir={run.run_dir}", f"data.path={run.data}", *settings)
        arguments = ["--config", str(run.recipe), *(part for setting in settings for part in ("--set", setting))]
        path = f"{self.directory}/bin:{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = os.environ | {"PATH": path, "DS_ACCELERATOR": "cpu", MARK: self.mark}
        with run.output.open("w") as output:
            return subprocess.Popen(
                [*deepspeed, str(entry), *arguments],
                cwd=self.directory, env=environment, stdout=output, stderr=output,
            )  # fmt: skip


@pytest.fixture
def hosts(ssh_server: SshServer, tmp_path: Path, mark: str) -> Hosts:
    (tmp_path / "hosts").write_text("one slots=1\ntwo slots=1\n")
    # What ranks need of the environment: pdsh takes only PYTHON* along.
    (tmp_path / ".deepspeed_env").write_text(
        f"GLOO_SOCKET_IFNAME=lo\nDS_ACCELERATOR=cpu\nOMP_NUM_THREADS=1\n{MARK}={mark}\n"
    )
    (tmp_path / "bin").mkdir()
    ssh = tmp_path / "bin/ssh"
    ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {ssh_server.config} "$@"\n')
    ssh.chmod(0o755)
    return Hosts(tmp_path, mark)


def test_ranks_on_two_hosts_train_as_on_one(
    hosts: Hosts, new_run: Callable[[], SmallRun], repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    run, whole = new_run(), new_run()
    assert hosts.start(run, repository / "launcher/train.py").wait(PATIENCE) == 0, run.output.read_text()
    assert "one: " in run.output.read_text()
    whole.train(ranks=2)
    assert run.column("loss") == whole.column("loss")


LONG = ("checkpoint.every_steps=100_000", "schedule.total_tokens=5_000_000")
"""Many steps, and no checkpoint but that of a stop."""


@pytest.mark.parametrize("lost", ["deepspeed", "its machine"])
def test_ranks_save_and_end_when_their_launcher_is_stopped_or_lost(
    hosts: Hosts, new_run: Callable[[], SmallRun], repository: Path, lost: str
) -> None:
    """deepspeed ends its processes on the hosts on SIGTERM; with its machine the connections are lost."""
    run = new_run()
    launcher = hosts.start(run, repository / "launcher/train.py", *LONG)
    run.await_steps(2, launcher, PATIENCE)
    if lost == "deepspeed":
        launcher.terminate()
    else:
        launcher.kill()
        for pid in marked(hosts.mark):
            with suppress(OSError):
                if Path(f"/proc/{pid}/comm").read_text().strip() in ("pdsh", "ssh"):
                    os.kill(pid, signal.SIGKILL)
    await_end(hosts.mark, PATIENCE)
    assert launcher.wait(PATIENCE) == (1 if lost == "deepspeed" else -signal.SIGKILL)
    assert run.newest_checkpoint()


def test_ranks_go_on_without_deepspeed_until_they_are_asked_to_stop(
    hosts: Hosts, new_run: Callable[[], SmallRun], repository: Path
) -> None:
    """The connections are still there when deepspeed itself was killed."""
    run = new_run()
    launcher = hosts.start(run, repository / "launcher/train.py", *LONG)
    run.await_steps(2, launcher, PATIENCE)
    launcher.kill()
    launcher.wait()
    seen, deadline = run.completed_steps(), time.monotonic() + PATIENCE
    while run.completed_steps() < seen + 20:
        assert time.monotonic() < deadline, run.output.read_text()
        time.sleep(0.05)
    subprocess.run([*CMBERT, "launch", "stop", str(run.run_dir)], check=True, timeout=PATIENCE)
    await_end(hosts.mark, PATIENCE)
    assert run.newest_checkpoint()
