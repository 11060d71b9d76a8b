"""Propose the columns of the text, the patient and the id, from their names and values.

The patient's column decides which notes are held out, so it is proposed only by a name that means a patient.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ...configs.errors import UserError
from ...streaming_data.documents.columns import check_columns, describe_names
from ...streaming_data.documents.identifiers import normalize_identifier
from .sample import Sample

# Names without case, spaces and punctuation, the most usual first.
_TEXT = "text notetext note notes reporttext report body content documenttext document narrative freetext fulltext"
_ID = "noteid documentid docid reportid recordid noteidentifier rowid accessionnumber accession id"
_PATIENT = "subjectid patientid personid mrn patid patient subject patientnum patientnumber pid empi"
_LIKE_PATIENT = re.compile(r".*(patient|subject|person|member).*(id|num|number|nr|nummer|no|key|icn)|.*mrn(id)?")
_PROSE_WORDS = 8
_SHORTEST_PROSE_WORDS = 3
_LONGEST_ID = 64
_LONGEST_NAME = 40


@dataclass(frozen=True)
class Columns:
    """The proposed columns; `id` is None if none has unique values in all files."""

    text: str
    patient: str
    id: str | None


def propose(samples: Sequence[Sample], text: str | None = None, patient: str | None = None) -> Columns:
    """Return columns that all files have; `text` and `patient` are the user's own choice.

    Raises:
        UserError: a column was not recognized, or a file lacks it. Names are shown only if one of them was recognized.
    """
    first = samples[0]
    patient = patient or _patient_column(first)
    text = text or _text_column(first)
    if patient is None or text is None:
        raise _not_recognized(first, text, patient)
    for sample in samples:
        check_columns(sample.path, sample.columns, [text, patient])
    return Columns(text, patient, _id_column(samples, patient))


def records_without(sample: Sample, column: str) -> int:
    """Return how many records of the sample have no identifier in the column."""
    return sum(not normalize_identifier(row.get(column)) for row in sample.records)


def _patient_column(sample: Sample) -> str | None:
    if known := _first_known(sample.columns, _PATIENT, lambda column: _is_identifier(sample, column)):
        return known
    like = [column for column in sample.columns if _LIKE_PATIENT.fullmatch(_plain(column))]
    like = [column for column in like if _is_identifier(sample, column)]
    return like[0] if len(like) == 1 else None


def _text_column(sample: Sample) -> str | None:
    """Return the column with a usual name and several words per record, else the one with the most words."""
    words = {column: _mean_words(sample, column) for column in sample.columns}
    known = _first_known(sample.columns, _TEXT, lambda column: words[column] >= _SHORTEST_PROSE_WORDS)
    # Without a header, the longest "name" is a patient's text.
    names = [column for column in sample.columns if len(column) <= _LONGEST_NAME]
    longest = max(names, key=lambda column: words[column], default=None)
    return known or (longest if longest and words[longest] >= _PROSE_WORDS else None)


def _id_column(samples: Sequence[Sample], patient: str) -> str | None:
    def is_unique(column: str) -> bool:
        values = [normalize_identifier(row.get(column)) for sample in samples for row in sample.records]
        return column != patient and all(values) and len(set(values)) == len(values)

    shared = [column for column in samples[0].columns if all(column in sample.columns for sample in samples)]
    return _first_known(shared, _ID, is_unique)


def _first_known(columns: Sequence[str], known: str, accept: Callable[[str], bool]) -> str | None:
    """Return the acceptable column whose name comes first in `known`."""
    by_name = {_plain(column): column for column in reversed(columns)}
    found = (by_name[name] for name in known.split() if name in by_name)
    return next(filter(accept, found), None)


def _plain(name: str) -> str:
    return re.sub(r"[\W_]", "", name.casefold())


def _mean_words(sample: Sample, column: str) -> float:
    """Return the mean number of words of values that are not empty; 0 if a value is no text."""
    values = [row.get(column) for row in sample.records]
    if not all(isinstance(value, str | None) for value in values):
        return 0.0
    counts = [len(value.split()) for value in values if value and value.strip()]
    return sum(counts) / len(counts) if counts else 0.0


def _is_identifier(sample: Sample, column: str) -> bool:
    """Return whether the column has short values, at least some."""
    values = [normalize_identifier(row.get(column)) for row in sample.records]
    return any(values) and max(map(len, values)) <= _LONGEST_ID


def _not_recognized(sample: Sample, text: str | None, patient: str | None) -> UserError:
    options = [option for option, found in (("--text COLUMN", text), ("--patient COLUMN", patient)) if found is None]
    what = " and ".join(kind for kind, found in (("text", text), ("patient", patient)) if found is None)
    usual = {*_TEXT.split(), *_ID.split(), *_PATIENT.split()}
    known = [column for column in sample.columns if _plain(column) in usual]
    if known:
        names = f"the file has {describe_names(sample.columns, known, 'columns')}: name it with {' and '.join(options)}"
    else:
        names = (
            f"none of {len(sample.columns):,} columns has a usual name: add a header if the file has none, or name the "
            f"column with {' and '.join(options)}"
        )
    return UserError(f"{sample.path}: the column of the {what} was not recognized; {names}")
