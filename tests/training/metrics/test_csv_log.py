"""CSV logs that a resumed run continues."""

import re
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
from written_run import write_run

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.training.metrics.csv_log import RowLog, read_last_rows, read_rows
from clinical_modernbert.training.metrics.writer import StepMetrics

COLUMNS = len(fields(StepMetrics))


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


def test_a_last_line_is_whole_only_if_it_ends(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run", steps=20) / "metrics.csv"
    # Cut inside the last field: as many cells as in a whole row.
    path.write_bytes(path.read_bytes()[:-2])
    for rows in (read_rows(path, StepMetrics), read_last_rows(path, StepMetrics, 5)):
        assert rows[-1]["step"] == 19
    RowLog(path, StepMetrics, 20).close()
    assert path.read_bytes().endswith(b"\n")
    assert [row["step"] for row in read_rows(path, StepMetrics)] == list(range(1, 20))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda text: text.replace(",", ";"), "line 1: 'step;tokens;"),
        (lambda text: text.replace("\n3,", "\nthree,"), "line 4: the step is 'three', expected a number"),
        (lambda text: text.replace("\n3,", "\n3,,"), f"line 4: {COLUMNS + 1} cells, expected {COLUMNS}"),
        (lambda text: text.replace(",0.5,", ",half,"), "column grad_norm: could not convert"),
        (lambda text: text.replace("step,", "stage,", 1), "line 1: 'stage,"),
        (lambda text: text.replace("loss,", "losses,", 1), "line 1: no column loss"),
        (lambda text: "\ufeff" + text, "line 1: "),
        (
            lambda text: "x" * 200_000 + text,
            "metrics.csv: ",
        ),  # too long for csv, unless readers of notes have raised it
        (lambda text: text.encode("utf-16").decode("latin-1"), "metrics.csv"),
    ],
)
def test_a_file_that_was_changed_is_one_error(tmp_path: Path, change: Callable[[str], str], problem: str) -> None:
    path = write_run(tmp_path / "run", steps=5) / "metrics.csv"
    path.write_text(change(path.read_text()))
    for read in (lambda: read_rows(path, StepMetrics), lambda: read_last_rows(path, StepMetrics, 50)):
        with pytest.raises(UserError, match=re.escape(str(path))) as caught:
            read()
        assert problem in str(caught.value) or "from the end" in str(caught.value)
        assert len(str(caught.value)) < 1_000
