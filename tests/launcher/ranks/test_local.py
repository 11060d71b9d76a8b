"""Ranks on one machine, with real processes: true exit codes, forwarded signals, and nothing left behind."""

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
from clinical_modernbert.launcher.ranks.local import run_ranks
sys.exit(run_ranks([sys.executable, "-c", sys.argv[2]], int(sys.argv[1]), grace=float(sys.argv[3])))
"""
# what a rank in these tests begins with: it tells that it is ready by a file named after it
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
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


@dataclass
class Family:
    """Processes that carry a mark in their environment, by which /proc finds them, children of children too."""

    directory: Path
    mark: str

    def launch(self, rank: str, ranks: int = 2, grace: float = 0.5) -> subprocess.Popen:
        """A launcher, in a process of its own, of ranks that run the source `rank`."""
        environment = {**os.environ, MARK: self.mark}
        command = [sys.executable, "-c", LAUNCH, str(ranks), RANK + rank, str(grace)]
        return subprocess.Popen(
            command, env=environment, cwd=self.directory, stderr=subprocess.PIPE, text=True, start_new_session=True
        )

    def ready(self, *names: str) -> list[int]:
        """The process ids in the files ready<name>, once they are all there."""
        files = [self.directory / f"ready{name}" for name in names]
        wait_until(lambda: all(file.is_file() and file.read_text() for file in files))
        return [int(file.read_text()) for file in files]

    def alive(self) -> set[int]:
        return marked(self.mark)


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Family]:
    family = Family(tmp_path, uuid.uuid4().hex)
    yield family
    for pid in family.alive():
        os.kill(pid, signal.SIGKILL)


def test_every_rank_knows_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    monkeypatch.setattr(local, "_has_accelerator", lambda: False)
    names = "RANK LOCAL_RANK WORLD_SIZE LOCAL_WORLD_SIZE LOCAL_SIZE MASTER_ADDR GLOO_SOCKET_IFNAME MASTER_PORT EXTRA"
    code = f"{RANK}Path(f'env{{rank}}').write_text(' '.join(os.environ[name] for name in '{names}'.split()))"
    assert run_ranks([sys.executable, "-c", code], 3, {"EXTRA": "more"}) == 0
    seen = [Path(f"env{rank}").read_text().split() for rank in range(3)]
    assert [words[:7] for words in seen] == [
        [str(rank), str(rank), "3", "3", "3", "127.0.0.1", "lo"] for rank in range(3)
    ]
    assert len({words[7] for words in seen}) == 1
    assert all(words[8] == "more" for words in seen)


@pytest.mark.parametrize(("accelerator", "given", "expected"), [(True, None, "-"), (False, "eth7", "eth7")])
def test_the_network_interface_is_the_users_choice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accelerator: bool, given: str | None, expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    if given:
        monkeypatch.setenv("GLOO_SOCKET_IFNAME", given)
    monkeypatch.setattr(local, "_has_accelerator", lambda: accelerator)
    assert run_ranks(["sh", "-c", 'printf %s "${GLOO_SOCKET_IFNAME:--}" > seen'], 1) == 0
    assert Path("seen").read_text() == expected


@pytest.mark.parametrize(
    ("rank", "code"),
    [
        ("pass", 0),
        ("sys.exit(85 if rank == 1 else 0)", 85),
        ("sys.exit(3) if rank == 1 else time.sleep(60)", 3),
        ("raise RuntimeError", 1),
        ("os.kill(os.getpid(), signal.SIGSEGV) if rank == 0 else time.sleep(60)", 128 + signal.SIGSEGV),
        # one that was ended for another's failure, in its own way, does not change the code
        (
            "signal.signal(signal.SIGTERM, lambda *_: sys.exit(9)); ready()\n"
            "while rank == 1 and not os.path.exists('ready0'): time.sleep(0.01)\n"
            "sys.exit(4) if rank == 1 else time.sleep(60)",
            4,
        ),
    ],
)
def test_the_exit_code_is_that_of_the_first_failure(family: Family, rank: str, code: int) -> None:
    launcher = family.launch(rank)
    assert launcher.wait(20) == code
    assert not family.alive()


def test_the_failed_rank_is_named(family: Family) -> None:
    launcher = family.launch("os.kill(os.getpid(), signal.SIGKILL) if rank == 1 else time.sleep(60)")
    assert launcher.communicate(timeout=20)[1].splitlines() == ["rank 1 was killed by SIGKILL"]


def test_a_killed_rank_ends_the_others_and_what_it_left_behind(family: Family) -> None:
    launcher = family.launch(
        "child = subprocess.Popen(['sleep', '60']); ready()\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"  # only SIGKILL, after the grace, ends the other one
        "ready('b')\n"
        "time.sleep(60)"
    )
    pids = family.ready("0b", "1b")
    assert len(family.alive()) == 5
    os.kill(pids[1], signal.SIGKILL)
    assert launcher.wait(20) == 128 + signal.SIGKILL
    wait_until(lambda: not family.alive())


def test_a_killed_launcher_takes_its_ranks_along(family: Family) -> None:
    launcher = family.launch("ready(); time.sleep(60)")
    family.ready("0", "1")
    launcher.kill()
    wait_until(lambda: not family.alive(), 5)


BOUND = """
import os, time
from pathlib import Path
from clinical_modernbert.launcher.ranks.local import die_with_parent
die_with_parent()
Path("readybound" + os.environ["RANK"]).write_text(str(os.getpid()))
time.sleep(60)
"""


def test_a_killed_launcher_takes_wrapped_ranks_along(family: Family) -> None:
    launcher = family.launch(f"subprocess.run([sys.executable, '-c', {BOUND!r}])")
    family.ready("bound0", "bound1")
    assert len(family.alive()) == 5
    launcher.kill()
    wait_until(lambda: not family.alive(), 5)


def test_a_rank_ends_with_another_launcher_too(family: Family) -> None:
    environment = {**os.environ, MARK: family.mark, "LOCAL_SIZE": "1", "RANK": "0"}
    launcher = subprocess.Popen(
        ["bash", "-c", '"$0" -c "$1" & wait', sys.executable, BOUND], env=environment, cwd=family.directory
    )
    family.ready("bound0")
    launcher.kill()
    wait_until(lambda: not family.alive(), 5)


def test_a_rank_whose_launcher_is_already_dead_ends() -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    code = "from clinical_modernbert.launcher.ranks.local import die_with_parent; die_with_parent()"
    for variables, expected in (
        ({"LOCAL_SIZE": "1", local.LAUNCHER_PID: str(dead.pid)}, -signal.SIGKILL),
        ({"LOCAL_SIZE": "1", local.LAUNCHER_PID: str(os.getpid())}, 0),
        ({}, 0),
    ):
        assert subprocess.run([sys.executable, "-c", code], env={**os.environ, **variables}).returncode == expected


def test_a_process_started_by_hand_outlives_its_shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_SIZE", raising=False)
    code = "from clinical_modernbert.launcher.ranks import local; local.die_with_parent(); import time; time.sleep(0.5)"
    done = tmp_path / "done"
    shell = f"({sys.executable} -c '{code}' && touch {done}) & sleep 0.3"
    subprocess.run(["bash", "-c", shell], check=True)
    wait_until(done.exists)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_to_the_launcher_reaches_every_rank_and_is_waited_for(family: Family, number: signal.Signals) -> None:
    # each takes longer than the grace to finish, one after the other: nobody is hurried
    launcher = family.launch(
        f"def stop(*_): Path(f'got{{rank}}').touch(); time.sleep(0.3 + 0.3 * rank); sys.exit(85)\n"
        f"signal.signal({int(number)}, stop); ready()\n"
        "while True: time.sleep(0.05)",
        grace=0.4,
    )
    family.ready("0", "1")
    launcher.send_signal(number)
    assert launcher.wait(20) == 85
    assert {path.name for path in family.directory.glob("got*")} == {"got0", "got1"}
    assert not family.alive()


def test_a_signal_that_ranks_finish_on_with_success_is_success(family: Family) -> None:
    launcher = family.launch("signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); ready(); time.sleep(60)")
    family.ready("0", "1")
    launcher.terminate()
    assert launcher.wait(20) == 0


def test_a_rank_that_hangs_after_a_signal_is_ended_once_another_has_stopped(family: Family) -> None:
    launcher = family.launch(
        "signal.signal(signal.SIGTERM, (lambda *_: sys.exit(85)) if rank else signal.SIG_IGN); ready(); time.sleep(60)",
        grace=0.2,
    )
    family.ready("0", "1")
    launcher.terminate()
    assert launcher.wait(20) == 85
    assert not family.alive()


def test_grace_to_save_in_is_not_given_to_a_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(local, "_CRASH_SECONDS", 0.2)
    stuck = "signal.signal(signal.SIGTERM, signal.SIG_IGN); ready(); time.sleep(60)"
    code = f"{RANK}if rank == 0: {stuck}\nwhile not os.path.exists('ready0'): time.sleep(0.01)\nsys.exit(3)"
    begun = time.monotonic()
    assert run_ranks([sys.executable, "-c", code], 2, grace=40) == 3
    assert time.monotonic() - begun < 20


def test_ranks_that_save_as_asked_have_all_the_grace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(local, "_CRASH_SECONDS", 0.1)
    code = (
        f"{RANK}def save(*_): time.sleep(rank); Path(f'saved{{rank}}').touch(); sys.exit(0 if rank else 85)\n"
        "signal.signal(signal.SIGTERM, save); ready(); time.sleep(60)"
    )
    received: list[int] = []

    def ask() -> None:
        wait_until(lambda: Path("ready0").exists() and Path("ready1").exists())
        received.append(signal.SIGTERM)

    Thread(target=ask, daemon=True).start()
    assert run_ranks([sys.executable, "-c", code], 2, grace=40, received=received) == 85
    assert Path("saved0").exists()
    assert Path("saved1").exists()


def test_a_terminals_interrupt_arrives_once(family: Family) -> None:
    launcher = family.launch(
        "signal.signal(signal.SIGINT, lambda *_: open(f'got{rank}', 'a').write('x')); ready()\n"
        "for _ in range(10): time.sleep(0.05)"
    )
    family.ready("0", "1")
    os.killpg(launcher.pid, signal.SIGINT)  # as a terminal does: to the whole process group in front
    assert launcher.wait(20) == 0
    assert [(family.directory / f"got{rank}").read_text() for rank in (0, 1)] == ["x", "x"]


def test_two_launchers_at_once_have_ports_of_their_own(family: Family) -> None:
    rank = "Path(f'readyport{os.getppid()}').write_text(os.environ['MASTER_PORT']); time.sleep(60)"
    launchers = [family.launch(rank, ranks=1) for _ in range(4)]
    ports = family.ready(*(f"port{launcher.pid}" for launcher in launchers))
    assert len(set(ports)) == len(launchers)


def test_the_port_is_kept_from_everyone_but_a_server_that_reuses_it() -> None:
    with local._reserved_port() as port:
        with socket.socket() as stranger, pytest.raises(OSError, match="in use"):
            stranger.bind(("127.0.0.1", port))
        with socket.socket() as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind(("0.0.0.0", port))
            server.listen()


def test_ranks_meet_at_the_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_command_that_cannot_be_started_is_a_mistake_of_the_user() -> None:
    with pytest.raises(UserError, match=r"no-such-command: cannot be started: No such file"):
        run_ranks(["no-such-command"], 2)
    with pytest.raises(UserError, match="expected at least 1"):
        run_ranks(["true"], 0)


def test_the_callers_signal_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in local.FORWARDED]
    assert run_ranks(["true"], 2) == 0
    assert [signal.getsignal(number) for number in local.FORWARDED] == before
