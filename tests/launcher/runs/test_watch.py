"""`cmbert status --watch` in a real terminal and in a pipe, until the run ends or Ctrl-C."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from terminal import Terminal
from written_run import write_run

from clinical_modernbert.configs.errors import USER_ERROR
from clinical_modernbert.launcher.runs.launch_log import record_end, record_start
from clinical_modernbert.launcher.runs.status import has_ended, read_status
from clinical_modernbert.training.resilience.exit_codes import REWOUND, STOPPED

CMBERT = [sys.executable, "-m", "clinical_modernbert.launcher"]
# Ctrl-C is a signal only in the terminal that controls a process.
IN_TERMINAL = ["setsid", "--ctty", "--wait", *CMBERT]
PATIENCE = 120


@pytest.fixture
def run_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run whose path fits a line: the working directory is its parent."""
    write_run(tmp_path / "one", steps=30, planned=100)
    monkeypatch.chdir(tmp_path)
    return Path("one")


def add_step(run_dir: Path, step: int) -> None:
    """Append the row of a further step, like the last one."""
    last = (run_dir / "metrics.csv").read_text().splitlines()[-1]
    with (run_dir / "metrics.csv").open("a") as file:
        file.write(f"{step},{last.partition(',')[2]}\n")


def shows(text: str) -> Callable[[list[str]], bool]:
    return lambda lines: any(text in line for line in lines)


def test_a_terminal_is_redrawn_in_place_until_the_run_ends(run_dir: Path) -> None:
    with Terminal([*IN_TERMINAL, "status", str(run_dir), "--watch", "0.1"], columns=80) as terminal:
        terminal.wait_for(shows("step        30 of 100"))
        first = terminal.wait_for(shows("137)"))  # the last line
        add_step(run_dir, 31)
        later = terminal.wait_for(shows("step        31 of 100"))
        assert len(later) == len(first), "the screen was not redrawn in place"
        complete = [state for state in terminal.states if len(state) >= len(first)]
        shown = terminal.states[terminal.states.index(complete[0]) :]
        record_end(run_dir, "local", 0)
        assert terminal.finish() == 0
        assert shows("Next: cmbert report one")(terminal.lines())
        assert shows("one: complete")(terminal.lines())
        assert not terminal.cursor_is_hidden()
    assert len(shown) > 1
    assert all("running" in state[0] and len(state) == len(first) for state in shown), "a frame was not complete"
    assert b"\x1b[2J" not in terminal.output, "the screen was erased, so it flickers"
    assert terminal.output.count(b"\x1b[?1049h") == terminal.output.count(b"\x1b[?1049l") == 1


def test_several_runs_are_one_table_and_ctrl_c_ends_only_the_view(run_dir: Path) -> None:
    other = write_run(Path("two"), steps=50, planned=100)
    with Terminal([*IN_TERMINAL, "status", "one", "two", "--watch"], columns=80) as terminal:
        lines = terminal.wait_for(lambda lines: shows("one ")(lines) and shows("two ")(lines))
        assert any(line.split()[:5] == ["one", "running", "30", "of", "100"] for line in lines)
        assert any(line.split()[:5] == ["two", "running", "50", "of", "100"] for line in lines)
        terminal.send("\x03")
        assert terminal.finish() == 0
    assert read_status(other).state == read_status(run_dir).state == "running"


def test_a_small_window_cuts_off_the_oldest_attempts(run_dir: Path) -> None:
    for _ in range(60):
        record_start(run_dir, "local", "node8")
    with Terminal([*IN_TERMINAL, "status", str(run_dir), "--watch", "0.1"], columns=80) as terminal:
        lines = terminal.wait_for(shows("node8"))
        assert lines[0] == "one: running"
        assert not shows("node7")(lines)
        terminal.send("\x03")
        assert terminal.finish() == 0


def test_a_terminated_view_leaves_the_terminal_as_it_was(run_dir: Path) -> None:
    with Terminal([*CMBERT, "status", str(run_dir), "--watch", "0.1"], columns=80) as terminal:
        terminal.wait_for(shows("Ctrl-C"))
        os.kill(terminal.pid, signal.SIGTERM)
        assert terminal.finish() == 128 + signal.SIGTERM
        assert terminal.output.endswith(b"\x1b[?1049l")
        assert not terminal.cursor_is_hidden()


@pytest.fixture
def piped(run_dir: Path) -> Iterator[subprocess.Popen[str]]:
    """The command with its output in a pipe; it can be interrupted by SIGINT."""
    command = ["env", "--default-signal=INT", *CMBERT, "status", str(run_dir), "--watch", "0.1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def test_a_pipe_gets_one_line_per_change(piped: subprocess.Popen[str], run_dir: Path) -> None:
    assert piped.stdout is not None
    assert "running  step 30 of 100, 30.0%  loss" in piped.stdout.readline()
    time.sleep(1)  # ten times as long as the interval, with no change
    add_step(run_dir, 31)
    assert "running  step 31 of 100" in piped.stdout.readline()
    record_end(run_dir, "local", 1)
    assert "crashed (exit code 1)" in piped.stdout.readline()
    assert piped.stdout.readline() == ""
    assert piped.wait(PATIENCE) == 0


def test_ctrl_c_in_a_pipe_is_no_failure(piped: subprocess.Popen[str]) -> None:
    assert piped.stdout is not None
    assert "step 30" in piped.stdout.readline()
    piped.send_signal(signal.SIGINT)
    assert piped.stdout.read() == ""
    assert piped.wait(PATIENCE) == 0


def test_watching_a_directory_without_a_run_is_a_user_error(run_dir: Path) -> None:
    environment = {**os.environ, "CMBERT_NEXT": "0"}
    for arguments, message in (
        (["ones", "--watch"], "ones: no run was started here; did you mean one?"),
        (["one", "--watch", "--json"], "--watch and --json exclude each other"),
        (["one", "--watch", "0"], "0.1"),
    ):
        command = [*CMBERT, "status", *arguments]
        ended = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert (ended.returncode, message in ended.stderr) == (USER_ERROR, True), ended.stderr


@pytest.mark.parametrize(
    ("launcher", "code", "ended"),
    [
        ("local", 0, True),
        ("local", 1, True),
        ("local", STOPPED, True),
        ("local", REWOUND, False),
        ("slurm", 0, True),
        ("slurm", USER_ERROR, True),
        ("slurm", 1, False),
        ("slurm", STOPPED, False),
    ],
)
def test_a_run_that_its_launcher_continues_has_not_ended(run_dir: Path, launcher: str, code: int, ended: bool) -> None:
    assert not has_ended(read_status(run_dir))
    record_start(run_dir, launcher)
    record_end(run_dir, launcher, code)
    assert has_ended(read_status(run_dir)) == ended
    (run_dir / "launches" / "20260101-000000").mkdir(parents=True)
    (run_dir / "launches" / "20260101-000000" / "over").touch()
    assert has_ended(read_status(run_dir)) == (code != REWOUND)
