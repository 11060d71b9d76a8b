"""Checks of a data recipe before any document is read: files, columns, the tokenizer, and free space."""

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path

from ...configs.preconditions import Check, check_packages
from ...storage.preconditions import check_free
from ..corpora.mimic_notes import MimicNotesSource
from ..corpora.pubmed import PubMedSource
from ..corpora.readers import AnySource, InputFile, read_file
from ..corpora.tables import TableSource
from ..deidentify.key import read_key
from ..documents.files import FoundFile, list_files
from .config import PrepareConfig
from .tasks import crosswalk_files

_STORED = 0.5
"""Bytes of a data set per byte of its input files: at least, as measured on notes in CSV and on gzipped PubMed."""

_STORED_OF_XML = 0.1
"""The same for PubMed files that are not compressed, which are mostly markup."""

_FILES_CHECKED = 1_000
"""Tables whose columns are checked beforehand, evenly among more of them: a second or so."""


def source_checks(sources: Sequence[AnySource]) -> Iterator[Check]:
    """One check per source: its files exist, its libraries are installed, and tables have the columns it names."""
    for source in sources:
        yield partial(_check_source, source)


def check_space(config: PrepareConfig) -> None:
    """Check that the disk of the output has room for the data set, with files of an earlier attempt not counted.

    Raises:
        UserError: it has not, or a source has no files.
    """
    needed = sum(
        file.size * source.sample * _stored(source, file)
        for source in config.sources
        for file in list_files(source.paths)
    )
    building = config.output.with_name(f"{config.output.name}.building")
    present = sum(file.stat().st_size for file in building.rglob("*") if file.is_file())
    check_free(config.output, int(needed) - present, "the data set")


def _check_source(source: AnySource) -> None:
    files = list_files(source.paths)
    crosswalk_files(source)
    if key := source.deidentify.key_file:
        read_key(key)
    if any(file.path.endswith(".parquet") for file in files):
        check_packages(f"source {source.name}", "parquet")
    if isinstance(source, TableSource | MimicNotesSource):
        for file in files[:: 1 + len(files) // _FILES_CHECKED]:
            for _ in islice(read_file(source, InputFile(Path(file.path))), 1):
                pass


def _stored(source: AnySource, file: FoundFile) -> float:
    return _STORED_OF_XML if isinstance(source, PubMedSource) and not file.path.endswith(".gz") else _STORED
