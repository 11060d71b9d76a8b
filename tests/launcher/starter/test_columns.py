"""Columns are found by names and values, in every format, and no patient's text is ever shown."""

import csv
import gzip
import json
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.launcher.starter.columns import Columns, propose, records_without
from clinical_modernbert.launcher.starter.sample import read_sample

SECRET = "Mrs Undisclosed was admitted with chest pain and was seen by the team on the ward"
Row = dict[str, Any]


def rows_of(text: str = "text", patient: str = "subject_id", key: str | None = "note_id") -> list[Row]:
    """Ten notes of five patients, with columns that resemble those that are looked for."""
    return [
        {
            "note_type": "DS",
            **({key: f"n{number}"} if key else {}),
            patient: str(number // 2),
            "patient_sex": "F",
            text: f"{SECRET} {number}",
            "title": "Discharge summary",
        }
        for number in range(10)
    ]


def write_csv(path: Path, rows: Sequence[Row], delimiter: str = ",", encoding: str = "utf-8") -> None:
    with path.open("w", newline="", encoding=encoding) as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


def write_lines(path: Path, rows: Sequence[Row]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_parquet(path: Path, rows: Sequence[Row]) -> None:
    arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    parquet.write_table(arrow.Table.from_pylist(list(rows)), path)


def write_compressed_lines(path: Path, rows: Sequence[Row]) -> None:
    write_lines(path, rows)
    path.write_bytes(gzip.compress(path.read_bytes()))


WRITERS: dict[str, Callable[[Path, Sequence[Row]], None]] = {
    "a.csv": write_csv,
    "b.csv": lambda path, rows: write_csv(path, rows, ";"),
    "c.tsv": lambda path, rows: write_csv(path, rows, "\t"),
    "d.jsonl": write_lines,
    "e.ndjson": write_lines,
    "f.parquet": write_parquet,
    "g.jsonl.gz": write_compressed_lines,
}


@pytest.mark.parametrize("name", WRITERS)
def test_all_formats(name: str, tmp_path: Path) -> None:
    WRITERS[name](tmp_path / name, rows_of())
    assert propose([read_sample(tmp_path / name)]) == Columns("text", "subject_id", "note_id")


@pytest.mark.parametrize(
    ("text", "patient", "key"),
    [
        ("NOTE_TEXT", "PAT_ID", "NOTE_ID"),
        ("Note Text", "Patient ID", "id"),
        ("report", "MRN", "accession_number"),
        ("Befund", "Patientennummer", None),
        ("impression", "DE_Patient_Key", "row_id"),
        ("note", "person_id", "document id"),
    ],
)
def test_usual_names(text: str, patient: str, key: str | None, tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", rows_of(text, patient, key))
    assert propose([read_sample(tmp_path / "a.csv")]) == Columns(text, patient, key)


def test_values_decide_between_names(tmp_path: Path) -> None:
    """A `text` of one word is no text, an id that repeats is none, and a patient's `name` is no identifier."""
    rows = [
        {"text": "DS", "id": number // 2, "patient": SECRET, "mrn": number, "body": f"{SECRET} {number}"}
        for number in range(10)
    ]
    write_lines(tmp_path / "a.jsonl", rows)
    assert propose([read_sample(tmp_path / "a.jsonl")]) == Columns("body", "mrn", None)


def test_all_files_need_the_columns(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", rows_of())
    write_lines(tmp_path / "b.jsonl", [{**row, "note_id": f"m{row['note_id']}"} for row in rows_of()])
    samples = [read_sample(tmp_path / name) for name in ("a.csv", "b.jsonl")]
    assert propose(samples).id == "note_id"
    write_csv(tmp_path / "c.csv", rows_of(key=None))
    assert propose([*samples, read_sample(tmp_path / "c.csv")]).id is None
    write_csv(tmp_path / "d.csv", rows_of(patient="mrn"))
    with pytest.raises(UserError, match=r"d\.csv: no column subject_id; the file has .*mrn"):
        propose([*samples, read_sample(tmp_path / "d.csv")])


def test_the_users_choice_wins(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", rows_of())
    sample = read_sample(tmp_path / "a.csv")
    assert propose([sample], "title", "note_id") == Columns("title", "note_id", None)
    with pytest.raises(UserError, match="no column bodyy"):
        propose([sample], "bodyy")


def test_a_missing_patient_is_never_guessed(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", rows_of(patient="number"))
    with pytest.raises(UserError, match=r"column of the patient was not recognized; the file has .*number.*--patient"):
        propose([read_sample(tmp_path / "a.csv")])


@pytest.mark.parametrize("first", ["", "text", "patient"])
def test_a_file_without_a_header_shows_nothing_of_it(first: str, tmp_path: Path) -> None:
    rows = [[f"{number}", first or f"{number}", f"{SECRET}, {number}", "John Smith"] for number in range(5)]
    with (tmp_path / "a.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    with pytest.raises(UserError) as error:
        propose([read_sample(tmp_path / "a.csv")])
    assert "was not recognized" in str(error.value)
    assert "Undisclosed" not in str(error.value)
    if not first:
        assert "John" not in str(error.value)
        assert "add a header" in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "no records"),
        ("a.csv", b"text,mrn\n", "no records"),
        ("a.xlsx", b"PK", "not a table; expected .csv"),
        ("a.jsonl", b"{\n", "first line is not JSON"),
        ("a.jsonl", b"[1]\n", "no records"),
        ("a.parquet", b"PAR1", "corrupt Parquet file"),
        ("a.csv.gz", b"text", "not gzip"),
    ],
)
def test_unreadable_files_are_user_errors(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_sample(tmp_path / name)


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "utf-16", "utf-32"])
def test_the_encoding_is_guessed(encoding: str, tmp_path: Path) -> None:
    rows = [{**row, "text": f"{row['text']} Ménière"} for row in rows_of()]
    write_csv(tmp_path / "a.csv", rows, encoding=encoding)
    sample = read_sample(tmp_path / "a.csv")
    assert sample.encoding == encoding
    assert sample.records[0]["text"].endswith("Ménière")


@pytest.mark.parametrize("line", ["sep=;", '"sep=;"', "SEP=;,,"])
def test_the_separator_line_of_excel_is_no_header(line: str, tmp_path: Path) -> None:
    path = tmp_path / "notes.csv"
    write_csv(path, rows_of(), delimiter=";")
    path.write_text(f"{line}\n{path.read_text()}")
    assert propose([read_sample(path)]) == Columns("text", "subject_id", "note_id")


def test_records_without_a_patient_are_counted(tmp_path: Path) -> None:
    rows = rows_of()
    rows[3]["subject_id"] = " "
    rows[4]["subject_id"] = "NaN"
    write_csv(tmp_path / "a.csv", rows)
    assert records_without(read_sample(tmp_path / "a.csv"), "subject_id") == 2
