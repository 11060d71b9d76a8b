"""MIMIC-IV-Note's discharge and radiology tables; the notes keep their line structure and `___`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from ..documents.csv_records import read_csv
from ..documents.document import Document
from ..documents.identifiers import missing_identifier, normalize_identifier
from ..documents.markup import markup_refused, unconverted_markup
from ..documents.spans import Span
from .source import Source


class MimicNotesSource(Source):
    """MIMIC-IV-Note's discharge.csv or radiology.csv, or any CSV file with those columns."""

    format: Literal["mimic_notes"]
    split_by: str = "subject_id"


COLUMNS = ("note_id", "subject_id", "hadm_id", "note_type", "note_seq", "charttime", "storetime", "text")
REQUIRED = ("note_id", "subject_id", "text")
_KEPT = ("subject_id", "hadm_id", "note_type")


def read(path: Path, source: MimicNotesSource, span: Span | None = None) -> Iterator[Document]:
    """One document per note of a file or of a span of it.

    Its meta holds the patient, the admission, the kind of note and whether it is synthetic.
    """
    records = read_csv(path, REQUIRED, span=span)
    for number, row in records:
        note_id, patient = normalize_identifier(row["note_id"]), normalize_identifier(row["subject_id"])
        if not note_id or not patient:
            raise missing_identifier(path, ["note_id", "subject_id"], f"record {number}", records)
        if markup := unconverted_markup(row["text"], source.clean):
            rest = (row["text"] for _, row in records)
            raise markup_refused(path, f"record {number}", markup, rest, source.clean)
        meta = {column: row.get(column, "") for column in _KEPT}
        meta |= {"subject_id": patient, "synthetic": str(source.synthetic).lower()}
        yield Document(note_id, source.name, row["text"].strip("\r\n"), meta)
