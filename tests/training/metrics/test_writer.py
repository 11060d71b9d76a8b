"""Progress of a run as a person sees it, on a terminal and in a log file."""

import sys
from pathlib import Path

import pytest
import terminal
from clock import Clock

from clinical_modernbert.training.metrics.writer import (
    MetricsWriter,
    StepMetrics,
    ValidationMetrics,
    read_metrics,
    training_line,
)
from clinical_modernbert.training.recipe.config import MetricsConfig

CONFIG = MetricsConfig(tensorboard=False)
DROPPED = ("accuracy 0.512", "lr 8.00e-04", "length 8,192", "━")
"""The least important parts of a line, the last of them dropped first."""
TRAINING = """
import os, sys
from pathlib import Path
from clinical_modernbert.configs.reporting import configure
from clinical_modernbert.training.metrics.writer import MetricsWriter
sys.path += {folders}
from test_writer import CONFIG, step_metrics, validation
configure()
os.system("stty -echo")
times = iter(range(0, 1_000_000, 50_000))
metrics = MetricsWriter(Path(sys.argv[1]), 12_000, 21_193, CONFIG, clock=lambda: next(times))
for step in (14_000, 16_345):
    metrics.write(step_metrics(step))
    input()
metrics.write_validation([validation(16_345)])
metrics.write(step_metrics(18_000))
input()
metrics.close()
print("the end")
"""


def step_metrics(step: int) -> StepMetrics:
    return StepMetrics(
        step=step, tokens=1000 * step, loss=2.3456, accuracy=0.512, grad_norm=1.0, lr=8e-4, mlm_probability=0.3,
        max_seqlen=8192, masked=100, tokens_per_second=1_234_567.0, flops=1e12, mfu=None, data_wait=0.0,
        data_wait_share=0.0, peak_memory=1.0, loss_scale=1.0, skipped_steps=0, data_digest="0",
    )  # fmt: skip


def validation(step: int) -> ValidationMetrics:
    return ValidationMetrics(step, "notes", loss=1.5, accuracy=0.6, masked=10, word_accuracy=None, words=0)


def steps_in(messages: list[str]) -> list[int]:
    return [int(message.split()[1].split("/")[0].replace(",", "")) for message in messages]


def test_a_log_shows_the_first_and_the_last_step_and_one_in_ten_seconds(
    tmp_path: Path, messages: pytest.LogCaptureFixture
) -> None:
    clock = Clock(100.0)
    metrics = MetricsWriter(tmp_path, 10, 100, CONFIG, clock=clock)
    for step in range(11, 41):
        clock.now += 3
        metrics.write(step_metrics(step))
    clock.now += 1
    metrics.close()
    assert steps_in(messages.messages) == [11, 15, 19, 23, 27, 31, 35, 39, 40]
    assert messages.messages[0] == (
        "step 11/100  elapsed 0:03  ETA 4:27  loss 2.3456  1.23M tok/s  accuracy 0.512  lr 8.00e-04  length 8,192"
    )
    assert messages.messages[-1].startswith("step 40/100  elapsed 1:31  ETA 3:00  ")
    assert len(read_metrics(tmp_path)) == 30, "metrics.csv has every step"


def test_a_step_is_shown_once(tmp_path: Path, messages: pytest.LogCaptureFixture) -> None:
    metrics = MetricsWriter(tmp_path, 0, 100, CONFIG, clock=Clock(100.0))
    metrics.close()
    assert messages.messages == []
    metrics = MetricsWriter(tmp_path, 0, 100, CONFIG, clock=Clock(100.0))
    metrics.write(step_metrics(1))
    metrics.close()
    assert steps_in(messages.messages) == [1]


def test_the_remaining_time_follows_the_packs(tmp_path: Path, messages: pytest.LogCaptureFixture) -> None:
    """The first 10 steps of a batch warm-up have one pack, the other 10 have four."""
    clock = Clock(100.0)
    metrics = MetricsWriter(tmp_path, 0, 20, CONFIG, lambda step: step + 3 * max(0, step - 10), clock)
    clock.now += 30
    metrics.write(step_metrics(10))
    metrics.close()
    assert "elapsed 0:30  ETA 2:00" in messages.messages[0]


@pytest.mark.parametrize("total", [100, 21_193, 999_999])
@pytest.mark.parametrize("left", [5.0, 71_643.0, 9_000_000.0])
@pytest.mark.parametrize("width", [40, 60, 80, 100, 120])
def test_step_total_remaining_time_loss_and_speed_fit_every_terminal(width: int, total: int, left: float) -> None:
    line = training_line(step_metrics(total // 2), total, left).fit(width)
    assert len(line) <= width
    numbers = line.replace(",", "")
    shown = [f"{total // 2}/{total}" in numbers, "ETA " in line, "loss 2.3" in line, "1.2" in line]
    assert all(shown)
    kept = [part in line for part in DROPPED]
    assert kept == sorted(kept, reverse=True), "dropped in order"
    assert sum(kept) >= {40: 0, 60: 0, 80: 1, 100: 2, 120: 3}[width]


@pytest.mark.parametrize("columns", [40, 60, 80, 100, 120])
def test_a_terminal_shows_one_line_that_follows_its_width(tmp_path: Path, columns: int) -> None:
    folders = [str(Path(__file__).parent), str(Path(terminal.__file__).parent)]
    command = [sys.executable, "-c", TRAINING.format(folders=folders), str(tmp_path)]
    with terminal.Terminal(command, columns) as screen:
        [line] = screen.wait_for(lambda lines: bool(lines))
        assert line == training_line(step_metrics(14_000), 21_193, 179_825).fit(columns)
        other = 160 - columns
        screen.resize(other)
        screen.send("\n")
        step = training_line(step_metrics(16_345), 21_193, 167_373).fit(other).split("ETA")[0]
        [line] = screen.wait_for(lambda lines: bool(lines) and lines[0].startswith(step))
        assert "loss 2.3" in line
        screen.send("\n")
        lines = screen.wait_for(lambda lines: len(lines) > 1 and "18" in lines[-1])
        assert "".join(lines[:-1]) == "validation  notes: loss 1.5000  accuracy 0.600 of tokens"
        screen.send("\n")
        assert screen.finish() == 0
        assert screen.lines()[-1] == "the end"
        last = screen.lines()[-2]
    assert last.replace(",", "").removeprefix("step ").startswith("18000/21193")
    assert "elapsed " in last, "the last step stays, as a message"
