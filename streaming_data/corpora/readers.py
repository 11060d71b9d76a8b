"""One interface to the readers of all formats.

The files of a source are listed first; each can then be read independently, in parallel and repeatedly.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field

from ...configs.errors import UserError
from ...configs.limits import DOCUMENT_CHARACTERS
from ..documents.bounded import document_too_long
from ..documents.census import Census
from ..documents.clean import clean
from ..documents.document import Document, uniform_hash
from ..documents.files import FoundFile, list_files
from ..documents.spans import Span
from . import codes, icd10cm, mimic_notes, ontology_passages, pmc, pubmed, tables
from .articles import pubmed_versions
from .codes import CodesSource
from .icd10cm import Icd10CmSource
from .mimic_notes import MimicNotesSource
from .ontology_passages import OntologySource
from .pmc import PmcSource
from .pubmed import PubMedSource
from .tables import TableSource

AnySource = Annotated[
    PubMedSource | PmcSource | MimicNotesSource | Icd10CmSource | CodesSource | OntologySource | TableSource,
    Field(discriminator="format"),
]


@dataclass(frozen=True)
class InputFile:
    """A file of a source, and what the other files of the source imply for it.

    Attributes:
        keep: for PubMed, which of its records are the newest of their citation, bool (records,); else None.
        span: the part of it to read; None for all of it.
    """

    path: Path
    keep: npt.NDArray[np.bool_] | None = None
    span: Span | None = None


def input_files(source: AnySource) -> list[InputFile]:
    """The files of a source in reading order, after a look into zip archives."""
    files = list_inputs(source)
    paths = [Path(file.path) for file in files]
    if not isinstance(source, PubMedSource):
        return [InputFile(path) for path in paths]
    keeps = pubmed_versions.newest_records(pubmed_versions.scan_all(paths))
    return [InputFile(path, keep) for path, keep in zip(paths, keeps, strict=True)]


def list_inputs(source: AnySource) -> list[FoundFile]:
    """The files of a source in reading order, after a look into zip archives."""
    files = list_files(source.paths)
    match source:
        case Icd10CmSource():
            for file in files:
                icd10cm.check_archive(Path(file.path))
        case CodesSource():
            for file in files:
                codes.check_archive(Path(file.path), source)
        case OntologySource():
            for file in files:
                ontology_passages.check_archive(Path(file.path), source)
    return files


def read_file(
    source: AnySource, file: InputFile, changed: "Counter[str] | None" = None, left_out: Census | None = None
) -> Iterator[Document]:
    """The documents of one file, cleaned, in order, in constant memory.

    `changed` counts the documents that each cleaning step changes, `left_out` what the reader leaves out of them.
    """
    changed = Counter() if changed is None else changed
    left_out = Census() if left_out is None else left_out
    for number, document in enumerate(_read_all(source, file, left_out), start=1):
        if source.sample == 1.0 or uniform_hash("sample", document.id) < source.sample:
            if len(document.text) > DOCUMENT_CHARACTERS:
                raise document_too_long(file.path, f"document {number:,}", len(document.text))
            try:
                text = clean(document.text, source.clean, changed)
            except UserError as error:
                raise UserError(f"{file.path}: document {number:,}: {error}") from error
            yield document if text is document.text else replace(document, text=text)


def read(source: AnySource) -> Iterator[Document]:
    """The documents of all files of a source."""
    for file in input_files(source):
        yield from read_file(source, file)


def _read_all(source: AnySource, file: InputFile, left_out: Census) -> Iterator[Document]:
    match source:
        case PubMedSource():
            assert file.keep is not None
            return pubmed.read(file.path, source, file.keep, left_out, file.span)
        case PmcSource():
            return pmc.read(file.path, source, left_out, file.span)
        case MimicNotesSource():
            return mimic_notes.read(file.path, source, file.span)
        case Icd10CmSource():
            return icd10cm.read(file.path, source, left_out)
        case CodesSource():
            return codes.read(file.path, source)
        case OntologySource():
            return ontology_passages.read(file.path, source, left_out)
        case TableSource():
            return tables.read(file.path, source, file.span)
