"""Launchers are lost at every level of the process tree: their ranks save and end. Real launchers, signals by pid."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from marked import MARK, marked
from slurm_cluster import SlurmCluster, kill_srun
from small_data import SEQ_LENGTH
from small_run import SmallRun

from clinical_modernbert.launcher.ranks import warden
from clinical_modernbert.training.checkpoint.files import step_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="pidfds exist on Linux only")

BIN = Path(sys.executable).parent
GRACE = 6
PATIENCE = 120
KILL, TERM, INT = signal.SIGKILL, signal.SIGTERM, signal.SIGINT
RANK = """
import ctypes, os, sys, time
from pathlib import Path
from clinical_modernbert.launcher.ranks.warden import start_warden
start_warden()
from clinical_modernbert.training.resilience.signals import StopRequest
stop, home, rank = StopRequest(), Path(os.environ["HOME_OF_TEST"]), os.environ.get("RANK", "0")
(home / f".pid{rank}").write_text(f"{os.getpid()} {os.getppid()}")
(home / f".pid{rank}").rename(home / f"pid{rank}")
lock = ctypes.create_string_buffer(64)
for _ in range(2 * (os.environ.get("STUCK") == "yes")):
    ctypes.PyDLL(None).pthread_mutex_lock(lock)  # forever, with the GIL held; `sleep` would return on a signal
while not stop.requested and not list(home.glob("stop*")):
    time.sleep(0.05)
(home / f"stop{rank}").touch()  # all ranks agree
time.sleep(0.5)
(home / f"saved{rank}").touch()
os._exit(0 if rank != "0" else 85)
"""


def wait_until(condition: Callable[[], object], seconds: float = PATIENCE) -> float:
    """Return the seconds until the condition holds."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < seconds, f"not within {seconds} s"
        time.sleep(0.02)
    return time.monotonic() - start


def name_of(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def environment(mark: str, **values: str) -> dict[str, str]:
    return {
        **os.environ,
        MARK: mark,
        warden.GRACE: str(GRACE),
        "GLOO_SOCKET_IFNAME": "lo",
        "DS_ACCELERATOR": "cpu",
        "OMP_NUM_THREADS": "1",
        "PATH": f"{BIN}:{os.environ['PATH']}",
        **values,
    }


def command_of(launcher: str, port: int) -> list[str]:
    return {
        "deepspeed": [str(BIN / "deepspeed"), "--num_accelerators", "2", "--master_port", str(port)],
        "torchrun": [str(BIN / "torchrun"), "--nproc-per-node", "2", "--master-port", str(port)],
        "ours": [sys.executable, "-c", OURS],
    }[launcher]


OURS = """
import sys
from clinical_modernbert.launcher.ranks.local import run_ranks
sys.exit(run_ranks([sys.executable, *sys.argv[1:]], 2))
"""
LEVELS = [
    *(("deepspeed", level, number) for level in ("outer", "inner") for number in (TERM, INT, KILL)),
    *(("torchrun", "outer", number) for number in (TERM, KILL)),
    ("ours", "outer", KILL),
]


@pytest.mark.ranks
@pytest.mark.slow
@pytest.mark.parametrize(("launcher", "level", "number"), LEVELS, ids=lambda value: getattr(value, "name", value))
def test_ranks_save_and_end_when_a_launcher_is_lost(
    launcher: str, level: str, number: signal.Signals, tmp_path: Path, mark: str
) -> None:
    rank = tmp_path / "rank.py"
    rank.write_text(RANK)
    values = environment(mark, HOME_OF_TEST=str(tmp_path))
    command = ["env", "--default-signal=INT", *command_of(launcher, 29741 + LEVELS.index((launcher, level, number)))]
    with (tmp_path / "output").open("w") as output:
        outer = subprocess.Popen([*command, str(rank)], env=values, stdout=output, stderr=output)
    files = [tmp_path / f"pid{number}" for number in range(2)]
    wait_until(lambda: all(file.exists() for file in files))
    (first, parent), (second, _) = (map(int, file.read_text().split()) for file in files)
    os.kill({"outer": outer.pid, "inner": parent}[level], number)
    ranks = {first, second}
    wait_until(lambda: not ranks & marked(mark), GRACE + 10)
    assert {path.name for path in tmp_path.glob("saved*")} == {"saved0", "saved1"}
    outer.wait(PATIENCE)
    wait_until(lambda: not marked(mark), GRACE + 10)  # nor do wardens and launchers outlive the ranks


def test_ranks_save_and_end_when_srun_is_killed_inside_a_job(
    slurm_cluster: SlurmCluster, tmp_path: Path, mark: str
) -> None:
    """The script goes on, and so would the ranks, of which srun is no ancestor.

    If srun's second process survives the first, SLURM kills the ranks at once.
    """
    (tmp_path / "rank.py").write_text("import os\nos.environ['RANK'] = os.environ['SLURM_PROCID']\n" + RANK)
    script = tmp_path / "job.sh"
    script.write_text(f"#!/bin/bash\nsrun {sys.executable} {tmp_path}/rank.py & sleep 600\n")
    values = environment(mark, HOME_OF_TEST=str(tmp_path))
    job = subprocess.check_output(
        ["sbatch", "--parsable", "-N1", "-n2", "-o/dev/null", str(script)], env=values
    ).decode()
    files = [tmp_path / f"pid{number}" for number in range(2)]
    wait_until(lambda: all(file.exists() for file in files))
    ranks = {pid for pid in marked(mark) if name_of(pid).startswith("python")}
    kill_srun(marked(mark))
    wait_until(lambda: not ranks & marked(mark), GRACE + 10)
    assert {path.name for path in tmp_path.glob("saved*")} == {"saved0", "saved1"}
    slurm_cluster.run("scancel", job.strip())


@pytest.mark.parametrize(
    ("title", "kind"),
    [
        ("sshd: me@notty", "connection"),
        ("sshd-session: me@notty", "connection"),
        ("sshd: me@pts/0", ""),  # a person's, whose loss is a SIGHUP
        ("sshd: me [priv]", ""),  # another user's, which may be hidden
        ("sshd: /usr/sbin/sshd -D [listener] 0 of 10-100 startups", ""),  # an update of sshd restarts it
    ],
)
def test_a_connection_is_told_from_its_server(title: str, kind: str) -> None:
    process = subprocess.Popen([title, "60"], executable="/bin/sleep")
    try:
        wait_until(lambda: Path(f"/proc/{process.pid}/cmdline").read_bytes().startswith(title.encode()))
        assert warden._kind(process.pid) == kind
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("stuck", ["yes", "no"])
def test_a_rank_that_holds_the_interpreter_ends_after_the_grace_period(tmp_path: Path, mark: str, stuck: str) -> None:
    values = environment(mark, HOME_OF_TEST=str(tmp_path), STUCK=stuck, RANK="0", CMBERT_GRACE_SECONDS="1")
    parent = subprocess.Popen(["bash", "-c", '"$0" -c "$1" & wait', sys.executable, RANK], env=values)
    wait_until((tmp_path / "pid0").exists)
    parent.kill()
    assert wait_until(lambda: not marked(mark), 1 + 10) > 0.4
    assert (tmp_path / "saved0").exists() == (stuck == "no")


def test_the_loss_of_a_launcher_above_other_processes_is_noticed(tmp_path: Path, mark: str) -> None:
    """A wrapper between, and a launcher that is known by its command line or by the environment."""
    (tmp_path / "torchrun.py").write_text("import subprocess, sys; subprocess.run(sys.argv[1:])")
    for name, variables in (("torchrun.py", {}), ("other.py", {"CMBERT_LAUNCHER_PID": "unset"})):
        (tmp_path / "other.py").write_text(
            "import os, subprocess, sys; os.environ['CMBERT_LAUNCHER_PID'] = str(os.getpid())\n"
            "subprocess.run(sys.argv[1:])"
        )
        wrapped = ["env", "A=b", "timeout", "600", sys.executable, "-c", RANK]
        values = environment(mark, HOME_OF_TEST=str(tmp_path), RANK="0", **variables)
        launcher = subprocess.Popen([sys.executable, str(tmp_path / name), *wrapped], env=values)
        wait_until((tmp_path / "pid0").exists)
        launcher.kill()
        wait_until(lambda: not marked(mark), GRACE + 10)
        assert (tmp_path / "saved0").exists()
        for path in tmp_path.glob("[ps][ita]*0"):
            path.unlink()


def test_a_rank_whose_launcher_was_gone_before_it_looked_ends(tmp_path: Path, mark: str) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    values = environment(mark, HOME_OF_TEST=str(tmp_path), RANK="0", CMBERT_LAUNCHER_PID=str(dead.pid))
    rank = subprocess.Popen([sys.executable, "-c", RANK], env=values)
    assert rank.wait(PATIENCE) in (85, -TERM), "before or after it can save"


def test_a_process_started_by_hand_outlives_its_shell(tmp_path: Path, mark: str) -> None:
    values = environment(mark, HOME_OF_TEST=str(tmp_path))
    values.pop("RANK", None)
    subprocess.run(["bash", "-c", '"$0" -c "$1" & sleep 0.3', sys.executable, RANK], env=values, check=True)
    wait_until((tmp_path / "pid0").exists)
    time.sleep(1)
    assert not list(tmp_path.glob("saved*"))
    assert len(marked(mark)) == 1, "it has a warden"


def test_a_warden_ends_with_its_rank(tmp_path: Path, mark: str) -> None:
    values = environment(mark, HOME_OF_TEST=str(tmp_path), RANK="0")
    with subprocess.Popen([sys.executable, "-c", RANK], env=values, stdout=subprocess.PIPE) as rank:
        wait_until(lambda: len(marked(mark)) == 2)
        names = set(map(name_of, marked(mark)))
        assert warden.NAME.decode() in names
        rank.kill()
        assert rank.stdout is not None
        assert rank.stdout.read() == b""  # a reader does not wait for the warden
    wait_until(lambda: not marked(mark), 10)


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["deepspeed", "torchrun", "ours"])
def test_a_killed_launcher_leads_to_the_checkpoint_of_the_last_step(
    new_run: Callable[[], SmallRun], repository: Path, launcher: str, mark: str
) -> None:
    """Real training, whose output nobody reads any more."""
    run = new_run()
    steps = [f"schedule.total_tokens={4000 * 4 * SEQ_LENGTH}", "checkpoint.every_steps=4000"]
    settings = [f"run_dir={run.run_dir}", f"data.path={run.data}", *steps]
    arguments = ["--config", str(run.recipe), *(part for setting in settings for part in ("--set", setting))]
    command = [*command_of(launcher, 29761), str(repository / "launcher/train.py"), *arguments]
    process = subprocess.Popen(
        command, env=environment(mark, CMBERT_GRACE_SECONDS="60"), cwd=run.recipe.parent, stdout=subprocess.PIPE
    )
    wait_until(lambda: run.completed_steps() >= 3)
    assert process.stdout is not None
    process.stdout.close()
    process.kill()
    process.wait()
    wait_until(lambda: not marked(mark), 60)
    assert step_of(run.newest_checkpoint()) == run.completed_steps() >= 3
