"""A run whose objective switches from the next token to masked tokens, and back."""

import signal
from collections.abc import Callable

import pytest
from small_data import SEQ_LENGTH
from small_run import SmallRun

from clinical_modernbert.training.metrics.csv_log import read_rows
from clinical_modernbert.training.metrics.writer import ValidationMetrics

STEP_TOKENS = 4 * SEQ_LENGTH
STAGES = (
    f"[{{objective: causal, until_tokens: {6 * STEP_TOKENS - 5}}}, "
    f"{{objective: masked, until_tokens: {9 * STEP_TOKENS}}}, {{objective: causal}}]"
)
SPIKES = "spikes={factor: 0.01, window: 6, max_rewinds: 0}"
"""Every loss is a spike once six of its objective are known, and none of them has seven steps."""
DETOUR = (f"schedule.objective={STAGES}", "validation.every_steps=6", SPIKES)
OBJECTIVES = ["causal"] * 6 + ["masked"] * 3 + ["causal"] * 3


@pytest.fixture(scope="module")
def detour(new_run: Callable[[], SmallRun]) -> SmallRun:
    """On two ranks, uninterrupted."""
    run = new_run()
    run.train(*DETOUR, ranks=2)
    return run


def test_the_objective_switches_exactly_at_its_step_and_that_is_no_spike(detour: SmallRun, finished: SmallRun) -> None:
    assert "spiked" not in detour.output.read_text()
    assert detour.column("objective") == OBJECTIVES
    for row, masked in zip(detour.rows(), finished.rows(), strict=True):
        same = row["objective"] == "masked"
        assert (row["data_digest"] == masked["data_digest"]) == same
        assert (row["masked"] == masked["masked"]) == same
        assert (row["mlm_probability"] == masked["mlm_probability"]) == same
        assert row["tokens"] == masked["tokens"]
        if not same:
            assert 0.9 * STEP_TOKENS < row["masked"] < STEP_TOKENS
            assert row["flops"] > masked["flops"]


def test_one_rank_trains_the_same_as_two(detour: SmallRun, new_run: Callable[[], SmallRun]) -> None:
    """And both see the same held-out losses of both objectives, whichever the step has."""
    run = new_run()
    run.train(*DETOUR, "batch.micro_batch_size=2", "memory_check=true")
    assert run.column("data_digest") == detour.column("data_digest")
    assert run.column("loss") == pytest.approx(detour.column("loss"), rel=1e-5)
    mine, other = (read_rows(each.run_dir / "validation.csv", ValidationMetrics) for each in (run, detour))
    assert [(row["step"], row["source"]) for row in mine] == [(s, name) for s in (6, 12) for name in ("notes", "codes")]
    for row, expected in zip(mine, other, strict=True):
        for name in ("loss", "causal_loss"):
            assert row[name] == pytest.approx(expected[name], rel=1e-5)
        assert row["causal_accuracy"] == pytest.approx(expected["causal_accuracy"], abs=1e-3)
    assert mine[0]["causal_loss"] < mine[0]["loss"]  # six steps of this objective, none of the other


@pytest.mark.parametrize("step", [5, 7])
def test_after_kill_9_before_or_after_a_switch_the_curve_is_bit_equal(
    detour: SmallRun, new_run: Callable[[], SmallRun], step: int
) -> None:
    run = new_run()
    assert run.signal_after(step, signal.SIGKILL, *DETOUR, ranks=2) == -signal.SIGKILL
    run.train(*DETOUR, ranks=2)
    for name in ("loss", "accuracy", "grad_norm", "data_digest", "objective", "masked", "lr"):
        assert run.column(name) == detour.column(name), name
