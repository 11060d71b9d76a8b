"""MIMIC notes are read unchanged; bad files have specific errors."""

import csv
import gzip
import io
from pathlib import Path

import pytest

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.streaming_data.corpora.mimic_notes import COLUMNS, MimicNotesSource
from clinical_modernbert.streaming_data.corpora.readers import read
from clinical_modernbert.streaming_data.documents.document import Document

NOTE = 'Name:  ___       Unit No:   ___\n \nChief Complaint:\n"chest, pain"\n\n\nHistory:\n\tMr. ___ is\n'


def mimic_csv(*rows: dict[str, str]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, restval="")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def notes(path: Path) -> list[Document]:
    source = MimicNotesSource(name="notes", format="mimic_notes", licence="PhysioNet", paths=[str(path)])
    return list(read(source))


@pytest.mark.parametrize("name", ["discharge.csv", "discharge.csv.gz"])
def test_a_note_keeps_its_lines_and_spaces(tmp_path: Path, name: str) -> None:
    content = mimic_csv({"note_id": "100-DS-1", "subject_id": "100", "hadm_id": "7", "note_type": "DS", "text": NOTE})
    path = tmp_path / name
    path.write_bytes(gzip.compress(content.encode()) if name.endswith(".gz") else content.encode())
    (document,) = notes(path)
    assert document.text == NOTE.strip("\n")
    assert (document.id, document.source) == ("100-DS-1", "notes")
    assert document.meta == {"subject_id": "100", "hadm_id": "7", "note_type": "DS", "synthetic": "false"}


def test_notes_may_exceed_the_csv_modules_field_limit(tmp_path: Path) -> None:
    path = tmp_path / "discharge.csv"
    path.write_text(mimic_csv({"note_id": "1", "subject_id": "1", "text": "word " * 100_000}))
    assert len(notes(path)[0].text) == 500_000


def test_missing_identifiers_and_columns_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "discharge.csv"
    path.write_text(mimic_csv({"note_id": "1", "subject_id": "", "text": "x"}))
    with pytest.raises(UserError, match="record 1 has no note_id or no subject_id"):
        notes(path)
    path.write_text("note_id,subject_id\n1,1\n")
    with pytest.raises(UserError, match="no column text; the file has note_id, subject_id"):
        notes(path)


def test_corrupt_files_are_refused(tmp_path: Path) -> None:
    content = mimic_csv(*({"note_id": str(n), "subject_id": "1", "text": f"{n} {n * n}"} for n in range(20_000)))
    path = tmp_path / "discharge.csv.gz"
    path.write_bytes(gzip.compress(content.encode())[:-5000])
    with pytest.raises(UserError, match=r"discharge\.csv\.gz: truncated or corrupt after record \d+"):
        notes(path)
    path.write_bytes(content.encode())
    with pytest.raises(UserError, match=r"named \.gz but not gzip"):
        notes(path)
    path = tmp_path / "latin.csv"
    path.write_bytes(mimic_csv({"note_id": "1", "subject_id": "1", "text": "café"}).encode("latin-1"))
    with pytest.raises(UserError, match="not UTF-8"):
        notes(path)
