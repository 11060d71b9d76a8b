"""CSV logs that a resumed run continues."""

from pathlib import Path

import pytest
from written_run import write_run

from clinical_modernbert.training.metrics.csv_log import RowLog, read_last_rows, read_rows
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


@pytest.mark.parametrize("end", ["", "301,1204000,2.5", "301,"])
def test_the_last_rows_are_the_end_of_all_rows(tmp_path: Path, end: str) -> None:
    path = write_run(tmp_path / "run", steps=300) / "metrics.csv"
    with path.open("a") as file:
        file.write(end)
    rows = read_rows(path, StepMetrics)
    assert len(rows) == 300
    for count in (1, 2, 50, 299, 300, 1000):
        assert read_last_rows(path, StepMetrics, count) == rows[-count:]


def test_a_file_without_rows_has_no_last_rows(tmp_path: Path) -> None:
    assert read_last_rows(tmp_path / "metrics.csv", StepMetrics, 5) == []
    RowLog(tmp_path / "metrics.csv", StepMetrics, 0).close()
    assert read_last_rows(tmp_path / "metrics.csv", StepMetrics, 5) == []
    (tmp_path / "empty.csv").touch()
    assert read_last_rows(tmp_path / "empty.csv", StepMetrics, 5) == []
