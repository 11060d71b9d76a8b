"""CSV logs that a resumed run continues."""

from pathlib import Path

from clinical_modernbert.training.metrics.csv_log import RowLog, read_rows
from clinical_modernbert.training.metrics.writer import StepMetrics


def test_rows_of_an_older_run_with_fewer_columns_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("step,tokens,loss\n1,100,2.5\n2,200,2.25\n3,300,2.0\n")
    RowLog(path, StepMetrics, 2).close()
    rows = read_rows(path, StepMetrics)
    assert [(row["step"], row["tokens"], row["loss"], row["mfu"]) for row in rows] == [
        (1, 100, 2.5, None),
        (2, 200, 2.25, None),
    ]
