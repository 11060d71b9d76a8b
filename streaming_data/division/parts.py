"""The parts of a source that are read independently: groups of small files, files, and ranges of large files."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import repeat
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ...configs.errors import UserError
from ..corpora.articles import pubmed_versions
from ..corpora.pubmed import PubMedSource
from ..corpora.readers import AnySource, InputFile, read_file
from ..deidentify.key import read_key
from ..deidentify.replace import STEP, deidentify
from ..documents.census import Census
from ..documents.document import Document
from ..documents.files import FoundFile
from ..documents.spans import Span
from .groups import group_files
from .survey import unpack


class Part(NamedTuple):
    """A few files, or a range of one.

    Attributes:
        keeps: for PubMed, which records of each file are the newest of their citation, bool (records,) each; else
            empty.
        span: the part of the one file that is read; None for all of it.
    """

    files: Sequence[FoundFile]
    keeps: Sequence[npt.NDArray[np.bool_]]
    span: Span | None

    @property
    def size(self) -> int:
        """Bytes to read."""
        return self.span.stop - self.span.start if self.span else sum(file.size for file in self.files)


def parts_of(
    source: AnySource,
    files: Sequence[FoundFile],
    spans: Mapping[FoundFile, Sequence[Span]],
    scan_all: Callable[[Sequence[Sequence[FoundFile]]], Sequence[pubmed_versions.Scan]],
) -> Iterator[Part]:
    """The parts of a source, in order.

    Args:
        spans: of files that are divided.
        scan_all: gives the scans of PubMed's files, in groups.
    """
    runs = list(group_files(files))
    groups = [files[run.start : run.stop] for run in runs]
    keeps = pubmed_versions.newest_records(scan_all(groups)) if isinstance(source, PubMedSource) else []
    for run, group in zip(runs, groups, strict=True):
        ranges = spans.get(group[0], ()) if len(group) == 1 else ()
        kept = keeps[run.start : run.stop]
        if kept and sum(span.records for span in ranges) != len(kept[0]):
            ranges = ()  # other records than the scan has seen
        yield from [Part(group, kept, span) for span in ranges] or [Part(group, kept, None)]


def read_part(
    source: AnySource, part: Part, changed: "Counter[str] | None" = None, left_out: Census | None = None
) -> Iterator[Iterator[Document]]:
    """The documents of each file of a part, see `readers.read_file`."""
    for file, keep in zip(part.files, part.keeps or repeat(None), strict=False):
        yield _read(source, file, keep, part.span, changed, left_out)


def read_documents(
    source: AnySource, file: InputFile, changed: "Counter[str] | None" = None, left_out: Census | None = None
) -> Iterator[Document]:
    """The documents of a file after all cleaning steps, `deidentify` included; see `readers.read_file`."""
    changed = Counter() if changed is None else changed
    documents = read_file(source, file, changed, left_out)
    if STEP not in source.clean:
        return documents
    key = read_key(path) if (path := source.deidentify.key_file) else None
    return deidentify(documents, source.split_by, source.locale, key, changed, source.find_names)


def _read(
    source: AnySource,
    file: FoundFile,
    keep: npt.NDArray[np.bool_] | None,
    span: Span | None,
    changed: "Counter[str] | None",
    left_out: Census | None,
) -> Iterator[Document]:
    whole = InputFile(Path(file.path), keep)
    if span and span.content != file.path:
        unpack(whole.path, Path(span.content))
    try:
        yield from read_documents(source, replace(whole, span=span), changed, left_out)
    except UserError:
        if span:
            # The same error whichever part is read first, with the file's own numbers of records and lines.
            for _ in read_file(source, whole):
                pass
        raise
