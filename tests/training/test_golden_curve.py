"""200 steps of a very small model, compared with the curves that are committed next to this file.

One is in the order of windows, in which older runs go on, and one in that of lanes.

Data must be bit-equal. Losses may differ by the rounding of another processor's sums, which 200 steps amplify.
"""

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from small_data import SEQ_LENGTH
from small_run import SmallRun

STEPS, PACKS = 200, 2
TOKENS = STEPS * PACKS * SEQ_LENGTH
SETTINGS = (
    f"batch.global_batch_size={PACKS}",
    "data.masking=span",
    f"schedule.total_tokens={TOKENS}",
    f"schedule.warmup_tokens={TOKENS // 20}",
    f"schedule.decay_tokens={TOKENS // 4}",
    f"schedule.seq_length=[{{max_seqlen: 64, until_tokens: {TOKENS // 4}}}, {{max_seqlen: {SEQ_LENGTH}}}]",
    f"schedule.mlm_probability=[[0, 0.3], [{TOKENS}, 0.15]]",
    f"checkpoint.every_steps={STEPS}",
)
TOLERANCE = 1e-4


@pytest.mark.parametrize(
    ("name", "order"), [("golden_curve.csv", ["data.shuffle_window=16"]), ("golden_curve_lanes.csv", [])]
)
def test_the_committed_curve_is_reproduced(name: str, order: list[str], new_run: Callable[[], SmallRun]) -> None:
    """To commit a new curve on purpose, copy the file named by the failing assertion."""
    run = new_run()
    run.train(*SETTINGS, *order)
    curve = run.run_dir / "golden_curve.csv"
    with curve.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "loss", "data_digest"])
        writer.writerows([row["step"], f"{row['loss']:.6f}", row["data_digest"]] for row in run.rows())
    with (Path(__file__).parent / name).open(newline="") as file:
        golden = list(csv.DictReader(file))
    assert [int(row["step"]) for row in golden] == list(range(1, STEPS + 1))
    assert run.column("data_digest") == [row["data_digest"] for row in golden], (
        f"data differs from the committed curve: {curve}"
    )
    losses = [float(row["loss"]) for row in golden]
    assert run.column("loss") == pytest.approx(losses, rel=TOLERANCE), (
        f"losses differ from the committed curve: {curve}"
    )
    assert sum(losses[-20:]) < 0.8 * sum(losses[:20])  # it learns that tokens depend on their neighbors
