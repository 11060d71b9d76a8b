"""On a GPU a row is read one step later. Nothing but the time of writing depends on it."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from host_waits import FAKE_GPU
from small_run import SmallRun
from warm_start import PATCH

pytestmark = pytest.mark.slow
COLUMNS = ("step", "tokens", "loss", "accuracy", "grad_norm", "skipped_steps", "data_digest")
FAULT = """
from clinical_modernbert.training import trainer

def update(run, settings, *rest, update=trainer.update):
    if settings.step == 5:
        raise RuntimeError("the device is gone")
    return update(run, settings, *rest)

trainer.update = update
"""
NO_ANSWER = """
def query(self):
    raise RuntimeError("no answer")

def lose_the_device(*arguments, update=trainer.update):
    try:
        return update(*arguments)
    except RuntimeError:
        host_waits.FakeStream.query = query
        raise

trainer.update = lose_the_device
"""
NOT_FINITE = """
from clinical_modernbert.training import objective

def forward(engine, batch, forward=objective.forward):
    loss, correct = forward(engine, batch)
    return loss + (float("inf") if loss.requires_grad and {start} <= engine.global_steps < {end} else 0), correct

objective.forward = forward
"""


@pytest.fixture
def patch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Runs these texts in each rank first."""

    def write(*texts: str) -> None:
        (tmp_path / "patch.py").write_text("\n".join(texts))
        monkeypatch.setenv(PATCH, str(tmp_path / "patch.py"))

    return write


def result(run: SmallRun) -> tuple[list[list], object]:
    skips = run.run_dir / "skips.json"
    return [run.column(name) for name in COLUMNS], json.loads(skips.read_text()) if skips.exists() else None


def test_a_spike_rewinds_to_the_same_checkpoint_without_the_same_packs(
    new_run: Callable[[], SmallRun], patch: Callable[..., None]
) -> None:
    settings = ["spikes={factor: 0.01, window: 6, max_rewinds: 1}"]  # every loss is a spike once six are known
    patch("")
    expected = new_run()
    output = expected.train(*settings, ranks=2, code=1)
    patch(FAKE_GPU)
    run = new_run()
    assert [line for line in run.train(*settings, ranks=2, code=1).splitlines() if "spiked" in line] == [
        line for line in output.splitlines() if "spiked" in line
    ]
    assert result(run) == result(expected)
    assert run.completed_steps() == 4 + 7, "the second spike is found at the seventh step after the checkpoint"


def test_steps_that_are_not_finite_rewind_to_the_same_checkpoint(
    new_run: Callable[[], SmallRun], patch: Callable[..., None]
) -> None:
    settings = ["engine.max_skipped_steps=1", "spikes.max_rewinds=0"]
    fault = NOT_FINITE.format(start=5, end=9)
    patch(fault)
    expected = new_run()
    assert "step 7 (" in expected.train(*settings, code=1)
    patch(FAKE_GPU, fault)
    run = new_run()
    assert "2 of the last 128 steps were not finite" in run.train(*settings, code=1)
    assert result(run) == result(expected)
    assert run.column("skipped_steps") == [0, 0, 0, 0, 0, 1, 2]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_is_stopped_or_killed_misses_no_row(
    finished: SmallRun, new_run: Callable[[], SmallRun], patch: Callable[..., None], number: signal.Signals
) -> None:
    patch(FAKE_GPU)
    run = new_run()
    run.signal_after(5, number, ranks=2)
    if number == signal.SIGTERM and run.completed_steps() < 12:
        step = json.loads((run.newest_checkpoint() / "manifest.json").read_text())["progress"]["step"]
        assert run.completed_steps() == step
    run.train(ranks=2)
    assert result(run) == result(finished)


@pytest.mark.parametrize(("device", "rows"), [("", 5), (NO_ANSWER, 4)], ids=["answers", "is lost"])
def test_an_error_leaves_the_row_of_the_last_step_if_the_device_answers(
    new_run: Callable[[], SmallRun], patch: Callable[..., None], device: str, rows: int
) -> None:
    patch(FAKE_GPU, FAULT, device)
    run = new_run()
    output = run.train("checkpoint.every_steps=12", code=1)
    assert output.rstrip().partition("\nNext:")[0].count("the device is gone") == 1
    assert "no answer" not in output
    assert run.column("step") == [*range(1, rows + 1)]
