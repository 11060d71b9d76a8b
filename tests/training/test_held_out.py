"""Held-out loss: the same at any world size, and without influence on training."""

from collections.abc import Callable

import pytest
from small_run import SmallRun

from clinical_modernbert.training.metrics import HeldOutMetrics
from clinical_modernbert.training.row_log import read_rows


def held_out(run: SmallRun) -> list[dict]:
    return read_rows(run.run_dir / "held_out.csv", HeldOutMetrics)


def test_it_changes_nothing_and_depends_on_no_rank(finished: SmallRun, new_run: Callable[[], SmallRun]) -> None:
    one, two = new_run(), new_run()
    one.train("held_out.every_steps=6", "batch.micro_packs=4")
    two.train("held_out.every_steps=6", ranks=2)
    assert two.column("loss") == finished.column("loss")
    rows = held_out(two)
    assert [(row["step"], row["source"]) for row in rows] == [(6, "notes"), (6, "codes"), (12, "notes"), (12, "codes")]
    for mine, other in zip(rows, held_out(one), strict=True):
        assert mine["masked"] == other["masked"] > 0
        assert mine["loss"] == pytest.approx(other["loss"], rel=1e-5)
    assert rows[2]["loss"] < rows[0]["loss"]
