"""The host does not wait for the device inside a micro-batch, and at most once per step."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from host_waits import PATCH as COUNT
from small_run import SmallRun
from warm_start import PATCH

from clinical_modernbert.training.metrics.csv_log import read_rows
from clinical_modernbert.training.metrics.writer import MixMetrics, ValidationMetrics

pytestmark = pytest.mark.slow
TIMES = {"tokens_per_second", "mfu", "data_wait", "data_wait_share", "peak_memory"}
ON_A_CPU_ONLY = "clinical_modernbert/kernels/stable_adamw.py"
"""The optimizer's branch for a CPU reads sums of pieces. `tests/kernels/test_launch.py` counts that for a GPU."""
STEPS, ROWS, VALIDATIONS = 12, 3, 2
SETTINGS = ("metrics.every_steps=4", "validation.every_steps=6", "memory_check=true")


def rows(run: SmallRun) -> list[list[dict]]:
    files = {"metrics": None, "mix": MixMetrics, "validation": ValidationMetrics}
    read = [read_rows(run.run_dir / f"{name}.csv", kind) if kind else run.rows() for name, kind in files.items()]
    return [[{key: row[key] for key in row if key not in TIMES} for row in table] for table in read]


@pytest.mark.parametrize(("stage", "ranks"), [(0, 1), (1, 1), (3, 2)])
def test_our_waits(
    new_run: Callable[[], SmallRun], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: int, ranks: int
) -> None:
    settings = [f"engine.zero_stage={stage}", *SETTINGS]
    settings += ["engine.zero_optimization={}"] if stage < 3 else []
    expected = new_run()
    expected.train(*settings, ranks=ranks)
    (tmp_path / "count.py").write_text(COUNT)
    monkeypatch.setenv(PATCH, str(tmp_path / "count.py"))
    run = new_run()
    output = run.train(*settings, ranks=ranks)
    assert rows(run) == rows(expected), "rows that are read a step later are the same rows"
    ours: Counter[str] = Counter()
    counted = json.loads(next(line for line in output.splitlines() if "waits: " in line).partition("waits: ")[2])
    for phase, where, what, times in counted["counts"]:
        print(f"{phase:12} {where:60} {what:70} {times}")
        if where.startswith("clinical_modernbert") and not where.startswith(ON_A_CPU_ONLY):
            ours[phase] += times
    assert (counted["steps"], counted["micro_batches"]) == (STEPS, STEPS * 4 // ranks)
    assert ours["micro-batch"] == 0
    # Reading a row comes a step later, or before it is needed. At stage 0 the norm is ours, and read to skip a step.
    assert ours["step"] <= ROWS + (STEPS if stage == 0 else 0)
    assert ours["validation"] == VALIDATIONS
