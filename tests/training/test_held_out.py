"""Held-out loss is the same at any world size. It, the rehearsal and the profiler leave training bit-equal."""

import gzip
import json
from collections.abc import Callable

import pytest
from small_run import SmallRun

from clinical_modernbert.training.metrics import HeldOutMetrics
from clinical_modernbert.training.row_log import read_rows


def held_out(run: SmallRun) -> list[dict]:
    return read_rows(run.run_dir / "held_out.csv", HeldOutMetrics)


def test_what_is_done_beside_training_changes_nothing(finished: SmallRun, new_run: Callable[[], SmallRun]) -> None:
    one, two = new_run(), new_run()
    one.train("held_out.every_steps=6", "batch.micro_packs=4")
    two.train("held_out.every_steps=6", "rehearse=true", "profile={first_step: 2, steps: 2, memory: true}", ranks=2)
    for name in ("loss", "accuracy", "grad_norm", "data_digest"):
        assert two.column(name) == finished.column(name)
    with gzip.open(two.run_dir / "profile/step00000002.trace.json.gz", "rt") as file:
        assert any("backward" in event.get("name", "").lower() for event in json.load(file)["traceEvents"])
    rows = held_out(two)
    assert [(row["step"], row["source"]) for row in rows] == [(6, "notes"), (6, "codes"), (12, "notes"), (12, "codes")]
    for mine, other in zip(rows, held_out(one), strict=True):
        assert mine["masked"] == other["masked"] > 0
        assert mine["loss"] == pytest.approx(other["loss"], rel=1e-5)
    assert rows[2]["loss"] < rows[0]["loss"]
