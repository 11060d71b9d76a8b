"""Progress of a run as a person sees it, on a terminal and in a log file."""

import io
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from clinical_modernbert.training.metrics import writer
from clinical_modernbert.training.metrics.writer import MetricsWriter, StepMetrics, format_duration
from clinical_modernbert.training.recipe.config import MetricsConfig

CONFIG = MetricsConfig(tensorboard=False)


def step_metrics(step: int) -> StepMetrics:
    return StepMetrics(
        step=step, tokens=1000 * step, loss=2.3456, accuracy=0.512, grad_norm=1.0, lr=8e-4, mlm_probability=0.3,
        max_seqlen=8192, masked=100, tokens_per_second=1_234_567.0, flops=1e12, mfu=None, data_wait=0.0,
        data_wait_share=0.0, peak_memory=1.0, loss_scale=1.0, skipped_steps=0, data_digest="0",
    )  # fmt: skip


@pytest.fixture
def messages(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.LogCaptureFixture]:
    """Captures what is logged, whether or not this process has configured its messages."""
    monkeypatch.setattr(logging.getLogger("clinical_modernbert"), "propagate", True)
    with caplog.at_level(logging.INFO, "clinical_modernbert"):
        yield caplog


def test_each_line_of_a_log_shows_elapsed_and_remaining_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, messages: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(writer, "console", Console(file=io.StringIO()))
    times = iter([100.0, 104.0, 112.0])
    metrics = MetricsWriter(tmp_path, 10, 100, CONFIG, clock=lambda: next(times))
    for step in (11, 12):
        metrics.write(step_metrics(step))
    metrics.close()
    first, second = messages.messages
    assert first.startswith("step 11/100  loss 2.3456  1,234,567 tokens/s")
    assert first.endswith("elapsed 0:04  left 5:56")
    assert second.endswith("elapsed 0:12  left 8:48")


def test_the_bar_shows_step_and_remaining_time_on_80_columns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, messages: pytest.LogCaptureFixture
) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(writer, "console", Console(file=screen, force_terminal=True, width=80, color_system=None))
    times = iter([0.0, 100_000.0])
    metrics = MetricsWriter(tmp_path, 0, 21_193, CONFIG, clock=lambda: next(times))
    metrics.write(step_metrics(12_345))
    metrics.close()
    lines = screen.getvalue().replace("\r", "\n").split("\n")
    assert any("step 12,345/21,193" in line and "left 19:54:33" in line and "loss 2.3456" in line for line in lines)
    assert messages.messages == []


def test_durations_are_minutes_or_hours() -> None:
    assert [format_duration(seconds) for seconds in (0, 65, 7203)] == ["0:00", "1:05", "2:00:03"]
