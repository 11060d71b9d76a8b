"""Synthetic notes are reproducible, marked, in MIMIC-IV-Note's columns, varied, and sometimes long."""

import csv
import hashlib
import itertools
import json
from pathlib import Path

import pytest

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.streaming_data.corpora.mimic_notes import COLUMNS, MimicNotesSource
from clinical_modernbert.streaming_data.corpora.readers import read
from clinical_modernbert.streaming_data.synthetic.notes import MARK, generate, write

HEADINGS = """Name: Unit No: Admission Date: Service: Allergies: Chief Complaint: Major Surgical or Invasive Procedure:
History of Present Illness: Past Medical History: Physical Exam: Pertinent Results: Brief Hospital Course:
Medications on Admission: Discharge Medications: Discharge Diagnosis: Discharge Condition: Discharge Instructions:
Followup Instructions:"""


def take(seed: int, notes: int) -> list[dict[str, str]]:
    return list(itertools.islice(generate(seed), notes))


def test_notes_are_a_pure_function_of_the_seed() -> None:
    first = take(3, 60)
    assert take(3, 60) == first
    assert take(3, 20) == first[:20]
    assert take(4, 60) != first
    digest = hashlib.sha256(json.dumps(take(0, 40)).encode()).hexdigest()
    assert digest[:16] == "908777a7e91cb1d9"


def test_files_have_mimics_columns_and_are_read_back_unchanged(tmp_path: Path) -> None:
    paths = write(tmp_path / "notes", 200, seed=1)
    assert [path.name for path in paths] == ["discharge.csv", "radiology.csv"]
    for path in paths:
        with path.open(newline="") as file:
            assert tuple(next(csv.reader(file))) == COLUMNS
    config = {
        "name": "n",
        "format": "mimic_notes",
        "licence": "own",
        "synthetic": True,
        "paths": [str(p) for p in paths],
    }
    result = {document.id: document for document in read(MimicNotesSource.model_validate(config))}
    expected = {row["note_id"]: row["text"] for row in take(1, 200)}
    assert {name: document.text for name, document in result.items()} == expected
    assert len(expected) == 200
    assert {document.meta["synthetic"] for document in result.values()} == {"true"}


@pytest.mark.parametrize("name", ["discharge.csv", "radiology.csv"])
def test_existing_files_are_not_overwritten(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("real notes")
    with pytest.raises(UserError, match=f"{name}: exists already, and notes are never overwritten"):
        write(tmp_path, 20)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(name, "real notes")]


def test_columns_agree_with_the_published_schema(dev_data: Path) -> None:
    for kind in ("discharge", "radiology"):
        schema = json.loads((dev_data / "mimic4_demo_facts" / "note_schema" / f"{kind}.json").read_text())
        assert tuple(column["name"] for column in schema) == COLUMNS


def test_every_note_is_marked_synthetic_and_has_its_sections() -> None:
    for row in take(0, 300):
        assert row["text"].startswith(MARK)
        assert int(row["subject_id"]) >= 90_000_000
        headings = HEADINGS.split(":") if row["note_type"] == "DS" else ["EXAMINATION", "INDICATION", "FINDINGS"]
        assert all(f"{heading.strip()}:" in row["text"] for heading in headings if heading.strip())


def test_lengths_vary_and_a_few_exceed_the_context() -> None:
    words = sorted(len(row["text"].split()) for row in take(0, 1500) if row["note_type"] == "DS")
    assert words[0] < 600
    assert words[-1] > 3_000
    assert 1 < sum(length > 2_000 for length in words) < len(words) // 10


def test_patients_have_more_than_one_admission() -> None:
    rows = [row for row in take(0, 300) if row["note_type"] == "DS"]
    patients = {row["subject_id"] for row in rows}
    assert len({row["hadm_id"] for row in rows}) == len(rows) > len(patients) > len(rows) // 2
    assert len({row["text"] for row in rows}) == len(rows)
