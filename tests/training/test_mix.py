"""The mix of sources: the planned shares equal those counted during the run."""

from collections import defaultdict
from collections.abc import Callable

import pytest
from small_data import SEQ_LENGTH
from small_run import SmallRun

from clinical_modernbert.training.metrics.csv_log import read_rows
from clinical_modernbert.training.metrics.writer import MixMetrics

MIX = ("data.weights={notes: 1, codes: 3}", "data.max_epochs={codes: 2}")


def shares(run: SmallRun) -> dict[int, dict[str, dict]]:
    by_step: dict[int, dict[str, dict]] = defaultdict(dict)
    for row in read_rows(run.run_dir / "mix.csv", MixMetrics):
        by_step[row["step"]][row["source"]] = row
    return by_step


def test_counted_shares_equal_planned_shares(finished: SmallRun) -> None:
    rows = shares(finished)
    assert sorted(rows) == list(range(1, 13))
    assert sum(row["tokens"] for row in rows[12].values()) == finished.column("tokens")[-1]
    for step_rows in rows.values():
        assert sum(row["share"] for row in step_rows.values()) == pytest.approx(1)
        for row in step_rows.values():  # packs have up to 8 of 256 tokens of padding
            assert row["share"] == pytest.approx(row["planned"], abs=8 / SEQ_LENGTH)
    assert rows[12]["notes"]["share"] == pytest.approx(0.8, abs=0.05)  # inside a round of 64 lanes


@pytest.mark.slow
def test_max_epochs_limits_a_source_and_a_resumed_run_continues_counting(new_run: Callable[[], SmallRun]) -> None:
    run = new_run()
    output = run.train(*MIX, "schedule.total_tokens=8192", "schedule.decay_tokens=1024", ranks=2)
    assert "mix              codes: " in output
    first = shares(run)
    assert first[8]["codes"]["share"] == pytest.approx(0.75, abs=0.06)
    run.train(*MIX, "schedule.total_tokens=14336", "schedule.decay_tokens=1024")
    rows = shares(run)
    assert rows[8] == first[8]
    assert rows[14]["codes"]["tokens"] == pytest.approx(30 * SEQ_LENGTH, rel=8 / SEQ_LENGTH)  # two epochs of 15 packs
    for row in rows[14].values():
        assert row["share"] == pytest.approx(row["planned"], abs=8 / SEQ_LENGTH)
