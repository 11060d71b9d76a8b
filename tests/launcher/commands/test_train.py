"""`cmbert train` with real ranks, as a person sees it in a terminal and as a log file keeps it."""

import os
import re
import signal
import subprocess
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from small_run import CMBERT, SmallRun
from terminal import Terminal, environment

LONG = "schedule.total_tokens=20_480_000"
STEP = re.compile(r"(?:step )?([\d,]+)/([\d,]+) +ETA .*loss [\d.]+ .*/s")


def children(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def steps(lines: list[str]) -> list[int]:
    return [int(match[1].replace(",", "")) for line in lines if (match := STEP.match(line))]


@pytest.mark.slow
@pytest.mark.parametrize("columns", [40, 80])
def test_training_in_a_terminal(new_run: Callable[[], SmallRun], columns: int) -> None:
    run = new_run()
    with Terminal([*CMBERT, *run.arguments("validation.every_steps=6", ranks=2)], columns) as terminal:
        assert terminal.finish() == 0
        shown = [lines[-1] for lines in terminal.states if lines and STEP.match(lines[-1])]
        final = terminal.lines()
    assert all(len(line) <= columns for line in shown)
    assert set(steps(shown)) <= set(range(1, 13))
    assert len(set(steps(shown))) > 3
    assert not steps(final), "the line is gone"
    assert sum("12/12" in line and "elapsed" in line for line in final) == 1
    assert any(line.startswith("Next: cmbert report ") for line in final)


@pytest.mark.slow
def test_a_rank_that_is_killed_leaves_a_usable_terminal(new_run: Callable[[], SmallRun]) -> None:
    run = new_run()
    with Terminal([*CMBERT, *run.arguments(LONG, ranks=2)], 80) as terminal:
        terminal.wait_for(lambda lines: bool(steps(lines[-1:])))
        rank_0 = next(
            pid for pid in children(terminal.pid) if b"\0RANK=0\0" in Path(f"/proc/{pid}/environ").read_bytes()
        )
        os.kill(rank_0, signal.SIGKILL)
        assert terminal.finish() == 128 + signal.SIGKILL
        assert not steps(terminal.lines()), terminal.output[-3000:]
        # The other rank's traceback may have pushed it off the screen.
        text = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", terminal.output)
        assert b"error: rank 0 was killed by SIGKILL" in text
        assert f"Next: cmbert status {run.run_dir}" in "".join(terminal.lines())
        assert not terminal.cursor_is_hidden()


@pytest.mark.slow
def test_a_log_file_has_few_lines_and_no_control_codes(new_run: Callable[[], SmallRun]) -> None:
    run = new_run()
    command = [*CMBERT, *run.arguments()]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment(), check=True)
    assert "\x1b" not in ended.stdout + ended.stderr
    assert "\r" not in ended.stdout + ended.stderr
    first, *between, last = [line for line in ended.stdout.splitlines() if re.match(r"step \d", line)]
    assert first.startswith("step 1/12  elapsed ")
    assert last.startswith("step 12/12  elapsed ")
    assert all("ETA " in line for line in (first, *between, last))
    seconds = [60 * int(m) + int(s) for m, s in re.findall(r"elapsed (\d+):(\d+)", "\n".join([first, *between]))]
    assert all(later - earlier >= 9 for earlier, later in pairwise(seconds))
