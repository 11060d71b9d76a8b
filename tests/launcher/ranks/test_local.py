"""Ranks on one machine, as real processes: exit codes, forwarded signals, and no process left behind."""

import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import pytest
from marked import MARK, marked

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.launcher.ranks import local
from clinical_modernbert.launcher.ranks.local import run_ranks

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

LAUNCH = """
import sys
from clinical_modernbert.configs.reporting import configure
from clinical_modernbert.launcher.ranks.local import run_ranks
configure()
sys.exit(run_ranks([sys.executable, "-c", sys.argv[2]], int(sys.argv[1]), grace=float(sys.argv[3])))
"""
# The first lines of a rank in these tests. A rank signals that it is ready with a file named after it.
RANK = """
import os, signal, subprocess, sys, time
from pathlib import Path
rank = int(os.environ["RANK"])
def ready(suffix=""):
    Path(f"ready{rank}{suffix}").write_text(str(os.getpid()))
"""


def wait_until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.02)


@dataclass
class MarkedProcesses:
    """Processes with a mark in their environment, including all descendants, which are found in /proc."""

    directory: Path
    mark: str

    def launch(self, rank: str, ranks: int = 2, grace: float = 0.5) -> subprocess.Popen:
        """Start a launcher process whose ranks run the source `rank`."""
        environment = {**os.environ, MARK: self.mark}
        command = [sys.executable, "-c", LAUNCH, str(ranks), RANK + rank, str(grace)]
        return subprocess.Popen(
            command, env=environment, cwd=self.directory, stderr=subprocess.PIPE, text=True, start_new_session=True
        )

    def ready(self, *names: str) -> list[int]:
        """Wait for all files ready<name>; return the process ids in them."""
        files = [self.directory / f"ready{name}" for name in names]
        wait_until(lambda: all(file.is_file() and file.read_text() for file in files))
        return [int(file.read_text()) for file in files]

    def alive(self) -> set[int]:
        return marked(self.mark)


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[MarkedProcesses]:
    processes = MarkedProcesses(tmp_path, uuid.uuid4().hex)
    yield processes
    for pid in processes.alive():
        os.kill(pid, signal.SIGKILL)


def test_every_rank_has_its_rank_and_rendezvous(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    names = "RANK LOCAL_RANK WORLD_SIZE LOCAL_WORLD_SIZE LOCAL_SIZE MASTER_ADDR GLOO_SOCKET_IFNAME MASTER_PORT EXTRA"
    code = f"{RANK}Path(f'env{{rank}}').write_text(' '.join(os.environ[name] for name in '{names}'.split()))"
    assert run_ranks([sys.executable, "-c", code], 3, {"EXTRA": "more"}, devices=tmp_path) == 0
    seen = [Path(f"env{rank}").read_text().split() for rank in range(3)]
    assert [words[:7] for words in seen] == [
        [str(rank), str(rank), "3", "3", "3", "127.0.0.1", "lo"] for rank in range(3)
    ]
    assert len({words[7] for words in seen}) == 1
    assert all(words[8] == "more" for words in seen)


@pytest.mark.parametrize(("accelerator", "given", "expected"), [(True, None, "-"), (False, "eth7", "eth7")])
def test_the_network_interface_can_be_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accelerator: bool, given: str | None, expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    if given:
        monkeypatch.setenv("GLOO_SOCKET_IFNAME", given)
    if accelerator:
        (tmp_path / "nvidia0").touch()
    command = ["sh", "-c", 'printf %s "${GLOO_SOCKET_IFNAME:--}" > seen']
    assert run_ranks(command, 1, devices=tmp_path) == 0
    assert Path("seen").read_text() == expected


@pytest.mark.parametrize(
    ("rank", "code"),
    [
        ("pass", 0),
        ("sys.exit(85 if rank == 1 else 0)", 85),
        ("sys.exit(3) if rank == 1 else time.sleep(60)", 3),
        ("raise RuntimeError", 1),
        ("os.kill(os.getpid(), signal.SIGSEGV) if rank == 0 else time.sleep(60)", 128 + signal.SIGSEGV),
        # The exit code of a rank that was ended after another's failure is ignored.
        (
            "signal.signal(signal.SIGTERM, lambda *_: sys.exit(9)); ready()\n"
            "while rank == 1 and not os.path.exists('ready0'): time.sleep(0.01)\n"
            "sys.exit(4) if rank == 1 else time.sleep(60)",
            4,
        ),
    ],
)
def test_the_exit_code_is_that_of_the_first_failure(processes: MarkedProcesses, rank: str, code: int) -> None:
    launcher = processes.launch(rank)
    assert launcher.wait(20) == code
    assert not processes.alive()


def test_the_failed_rank_is_named(processes: MarkedProcesses) -> None:
    launcher = processes.launch("os.kill(os.getpid(), signal.SIGKILL) if rank == 1 else time.sleep(60)")
    assert launcher.communicate(timeout=20)[1].splitlines() == ["error: rank 1 was killed by SIGKILL"]


def test_a_killed_rank_ends_the_other_ranks_and_its_children(processes: MarkedProcesses) -> None:
    launcher = processes.launch(
        "child = subprocess.Popen(['sleep', '60']); ready()\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"  # only SIGKILL, after the grace period, ends the other rank
        "ready('b')\n"
        "time.sleep(60)"
    )
    pids = processes.ready("0b", "1b")
    assert len(processes.alive()) == 5
    os.kill(pids[1], signal.SIGKILL)
    assert launcher.wait(20) == 128 + signal.SIGKILL
    wait_until(lambda: not processes.alive())


def test_ranks_end_with_a_killed_launcher(processes: MarkedProcesses) -> None:
    launcher = processes.launch("ready(); time.sleep(60)")
    processes.ready("0", "1")
    launcher.kill()
    wait_until(lambda: not processes.alive(), 5)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_to_the_launcher_reaches_every_rank_and_is_waited_for(
    processes: MarkedProcesses, number: signal.Signals
) -> None:
    # The ranks take longer than the grace period in total, and none is killed.
    launcher = processes.launch(
        f"def stop(*_): Path(f'got{{rank}}').touch(); time.sleep(0.3 + 0.3 * rank); sys.exit(85)\n"
        f"signal.signal({int(number)}, stop); ready()\n"
        "while True: time.sleep(0.05)",
        grace=0.4,
    )
    processes.ready("0", "1")
    launcher.send_signal(number)
    assert launcher.wait(20) == 85
    assert {path.name for path in processes.directory.glob("got*")} == {"got0", "got1"}
    assert not processes.alive()


def test_ranks_that_succeed_after_a_signal_give_exit_code_0(processes: MarkedProcesses) -> None:
    launcher = processes.launch("signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); ready(); time.sleep(60)")
    processes.ready("0", "1")
    launcher.terminate()
    assert launcher.wait(20) == 0


def test_a_rank_that_ignores_a_signal_is_killed_after_another_has_stopped(processes: MarkedProcesses) -> None:
    launcher = processes.launch(
        "signal.signal(signal.SIGTERM, (lambda *_: sys.exit(85)) if rank else signal.SIG_IGN); ready(); time.sleep(60)",
        grace=0.2,
    )
    processes.ready("0", "1")
    launcher.terminate()
    assert launcher.wait(20) == 85
    assert not processes.alive()


def test_after_a_crash_the_grace_period_is_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    stuck = "signal.signal(signal.SIGTERM, signal.SIG_IGN); ready(); time.sleep(60)"
    code = f"{RANK}if rank == 0: {stuck}\nwhile not os.path.exists('ready0'): time.sleep(0.01)\nsys.exit(3)"
    started = time.monotonic()
    assert run_ranks([sys.executable, "-c", code], 2, grace=40, crash_grace=0.2) == 3
    assert time.monotonic() - started < 20


def test_after_a_signal_ranks_have_the_complete_grace_period(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code = (
        f"{RANK}def save(*_): time.sleep(rank); Path(f'saved{{rank}}').touch(); sys.exit(0 if rank else 85)\n"
        "signal.signal(signal.SIGTERM, save); ready(); time.sleep(60)"
    )
    received: list[int] = []

    def request_stop() -> None:
        wait_until(lambda: Path("ready0").exists() and Path("ready1").exists())
        received.append(signal.SIGTERM)

    Thread(target=request_stop, daemon=True).start()
    assert run_ranks([sys.executable, "-c", code], 2, grace=40, crash_grace=0.1, received=received) == 85
    assert Path("saved0").exists()
    assert Path("saved1").exists()


def test_ctrl_c_reaches_each_rank_once(processes: MarkedProcesses) -> None:
    launcher = processes.launch(
        "signal.signal(signal.SIGINT, lambda *_: open(f'got{rank}', 'a').write('x')); ready()\n"
        "for _ in range(10): time.sleep(0.05)"
    )
    processes.ready("0", "1")
    os.killpg(launcher.pid, signal.SIGINT)  # as a terminal does: to the foreground process group
    assert launcher.wait(20) == 0
    assert [(processes.directory / f"got{rank}").read_text() for rank in (0, 1)] == ["x", "x"]


def test_concurrent_launchers_have_different_ports(processes: MarkedProcesses) -> None:
    rank = "Path(f'readyport{os.getppid()}').write_text(os.environ['MASTER_PORT']); time.sleep(60)"
    launchers = [processes.launch(rank, ranks=1) for _ in range(4)]
    ports = processes.ready(*(f"port{launcher.pid}" for launcher in launchers))
    assert len(set(ports)) == len(launchers)


def test_only_a_server_that_reuses_addresses_can_bind_the_port() -> None:
    with local._reserve_port() as port:
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))
        with socket.socket() as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind(("0.0.0.0", port))
            server.listen()


@pytest.mark.slow
def test_ranks_connect_at_the_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    code = """
import torch
import torch.distributed as dist
dist.init_process_group("gloo")
total = torch.ones(1)
dist.all_reduce(total)
assert total.item() == 2
dist.destroy_process_group()
"""
    assert run_ranks([sys.executable, "-c", code], 2) == 0


def test_a_command_that_cannot_be_started_is_a_user_error() -> None:
    with pytest.raises(UserError, match=r"no-such-command: cannot be started: No such file"):
        run_ranks(["no-such-command"], 2)
    with pytest.raises(UserError, match="expected at least 1"):
        run_ranks(["true"], 0)


def test_the_signal_handlers_of_the_caller_are_restored() -> None:
    before = [signal.getsignal(number) for number in local.FORWARDED]
    assert run_ranks(["true"], 2) == 0
    assert [signal.getsignal(number) for number in local.FORWARDED] == before


def test_of_ranks_that_ended_at_once_the_killed_one_is_the_first() -> None:
    """The others fail a moment later because they have lost it."""
    commands = {"rank 0": "raise SystemExit(1)", "rank 1": "import os; os.kill(os.getpid(), 9)"}
    running = {
        name: subprocess.Popen([sys.executable, "-c", command], start_new_session=True)
        for name, command in commands.items()
    }
    for process in running.values():
        process.wait()
    assert local.supervise(dict(running), [], grace=1) == 128 + signal.SIGKILL
