"""MIMIC-IV-Note's discharge and radiology tables: the notes as they are, line structure and `___` kept."""

from collections.abc import Iterator
from pathlib import Path

from ...configs.errors import UserError
from ..documents import Document
from ..prepare_config import MimicNotesSource
from .csv_records import read_csv

COLUMNS = ("note_id", "subject_id", "hadm_id", "note_type", "note_seq", "charttime", "storetime", "text")
_NEEDED = ("note_id", "subject_id", "text")
_KEPT = ("subject_id", "hadm_id", "note_type")


def read(path: Path, source: MimicNotesSource) -> Iterator[Document]:
    """One document a note; meta holds the patient, the admission, the kind of note and whether it is synthetic."""
    for number, row in read_csv(path, _NEEDED):
        note_id = row["note_id"].strip()
        if not note_id or not row["subject_id"].strip():
            raise UserError(f"{path}: record {number} has no note_id or no subject_id; expected both in every record")
        meta = {column: row.get(column, "") for column in _KEPT} | {"synthetic": str(source.synthetic).lower()}
        yield Document(note_id, source.name, row["text"].strip("\r\n"), meta)
