"""Ranks on several hosts over ssh, with a real ssh server on loopback: signals, exit codes, and cleanup."""

import getpass
import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from marked import MARK, marked
from ssh_server import SshServer

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.launcher.ranks.hostfile import read_hostfile
from clinical_modernbert.launcher.ranks.warden import GRACE
from clinical_modernbert.training.resilience.exit_codes import STOPPED

REPOSITORY = Path(__file__).parents[3]
LAUNCH = """
import json, sys
from pathlib import Path
from clinical_modernbert.configs.reporting import configure
from clinical_modernbert.launcher.ranks.hostfile import run_on_hosts
configure()
values = json.loads(sys.argv[1])
sys.exit(run_on_hosts(values["hosts"], values["command"], values["env"], pythonpath=Path(values["path"]),
                      setup=values["setup"], address=values["address"], port=29777, ssh=values["ssh"], grace=1.0))
"""
RANK = """
import os, signal, subprocess, sys, time
from pathlib import Path
rank, home = int(os.environ["RANK"]), Path(os.environ["HOME_OF_TEST"])
def ready():
    (home / f"ready{rank}").write_text(str(os.getpid()))
"""


@dataclass
class Hosts:
    """Two hosts, `one` with two ranks and `two` with one, and a Python whose path contains a space."""

    server: SshServer
    directory: Path
    mark: str

    def launch(self, rank: str, setup: Sequence[str] = (), address: str | None = None, **env: str) -> subprocess.Popen:
        (self.directory / "package").mkdir()
        (self.directory / "package" / "clinical_modernbert").symlink_to(REPOSITORY)
        (self.directory / "a venv").symlink_to(sys.prefix)
        values = {
            "hosts": {f"{getpass.getuser()}@one": 2, "two": 1},
            "setup": setup,
            "address": address,
            "command": [sys.executable, "-c", RANK + rank],
            "env": {"HOME_OF_TEST": str(self.directory), MARK: self.mark, GRACE: "2", **env},
            "path": str(self.directory / "package"),
            "ssh": f"ssh -F {self.server.config}",
        }
        python = str(self.directory / "a venv" / "bin" / "python")
        return subprocess.Popen([python, "-c", LAUNCH, json.dumps(values)], stderr=subprocess.PIPE, text=True)

    def await_files(self, *names: str) -> None:
        self.await_that(lambda: all((self.directory / name).exists() for name in names))

    def await_that(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def alive(self) -> set[int]:
        """Return the ids of ranks that are still running."""
        return marked(self.mark)


@pytest.fixture
def hosts(ssh_server: SshServer, tmp_path: Path) -> Iterator[Hosts]:
    hosts = Hosts(ssh_server, tmp_path, uuid.uuid4().hex)
    yield hosts
    for pid in hosts.alive():
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize(("given", "address"), [(None, "one"), ("127.0.0.1", "127.0.0.1")])
def test_every_rank_has_its_rank_and_unchanged_values(hosts: Hosts, given: str | None, address: str) -> None:
    names = ["RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "ODD"]
    value = """a,b  'c' "d" $HOME \n e"""
    show = f"(home / f'seen{{rank}}').write_text('|'.join(os.environ[name] for name in {names}))"
    assert hosts.launch(show, address=given, ODD=value).wait(60) == 0
    seen = [(hosts.directory / f"seen{rank}").read_text() for rank in range(3)]
    ranks = [("0", "0", "2"), ("1", "1", "2"), ("2", "0", "1")]
    assert seen == [f"{rank}|{local}|3|{ranks_on_host}|{address}|29777|{value}" for rank, local, ranks_on_host in ranks]


@pytest.mark.parametrize(
    ("rank", "code"), [("sys.exit(85 if rank == 0 else 0)", 85), ("sys.exit(3) if rank == 2 else time.sleep(60)", 3)]
)
def test_the_exit_code_is_that_of_the_host_that_failed_first(hosts: Hosts, rank: str, code: int) -> None:
    launcher = hosts.launch(rank)
    assert launcher.wait(60) == code
    assert launcher.stderr is not None
    reported = re.search(rf"host (\w+@one|two) exited with code {code}", launcher.stderr.read())
    assert bool(reported) == (code != STOPPED), "a crash is reported, a requested stop is not"
    hosts.await_that(lambda: not hosts.alive())


def test_setup_lines_run_in_one_shell(hosts: Hosts) -> None:
    setup = ["export MINE=theirs  # on this cluster alone", "if true; then", "  export MINE=own; fi"]
    assert hosts.launch("ready(); sys.exit(7 if os.environ['MINE'] == 'own' else 8)", setup).wait(60) == 7


def test_ranks_do_not_start_if_setup_fails(hosts: Hosts) -> None:
    assert hosts.launch("ready()", ["false  # such as a module that is not there", "true"]).wait(60) == 1
    assert not list(hosts.directory.glob("ready*"))


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_every_rank_and_is_waited_for(hosts: Hosts, number: signal.Signals) -> None:
    launcher = hosts.launch(
        f"def stop(*_): (home / f'got{{rank}}').touch(); time.sleep(0.3); os._exit(0 if rank else 85)\n"
        f"signal.signal({int(number)}, stop); ready()\nwhile True: time.sleep(0.05)"
    )
    hosts.await_files("ready0", "ready1", "ready2")
    launcher.send_signal(number)
    assert launcher.wait(30) == 85
    hosts.await_files("got0", "got1", "got2")


def test_ranks_on_all_hosts_save_or_end_with_a_killed_launcher(hosts: Hosts) -> None:
    launcher = hosts.launch(
        "def save(*_): print('saving'); time.sleep(0.5); (home / f'saved{rank}').touch(); os._exit(0)\n"
        "signal.signal(signal.SIGTERM, save if rank else signal.SIG_IGN); ready()\nwhile True: time.sleep(0.05)"
    )
    hosts.await_files("ready0", "ready1", "ready2")
    assert len(hosts.alive()) == 3
    launcher.kill()
    hosts.await_that(lambda: not hosts.alive())
    assert {path.name for path in hosts.directory.glob("saved*")} == {"saved1", "saved2"}


def test_a_rank_that_ignores_sigterm_is_killed_after_another_host_failed(hosts: Hosts) -> None:
    launcher = hosts.launch(
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); ready()\n"
        "while not (home / 'ready0').exists(): time.sleep(0.01)\n"
        "sys.exit(4) if rank == 2 else time.sleep(600)"
    )
    assert launcher.wait(60) == 4
    hosts.await_that(lambda: not hosts.alive())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("one slots=2\ntwo slot=2\n", r":2: expected HOST slots=N, such as node1 slots=8, got 'two slot=2'"),
        ("one slots=0\n", r":1: expected HOST slots=N"),
        ("one slots=2 # eight GPUs\n\none slots=2\n", r":3: one is listed twice"),
        ("# nothing\n", r": no hosts"),
    ],
)
def test_an_invalid_hostfile_is_rejected_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "hosts"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_hostfile(path)


def test_a_hostfile_is_read_in_order(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text("# two of them\nb slots=2\n\na   slots=4  # more\n")
    assert list(read_hostfile(path).items()) == [("b", 2), ("a", 4)]
