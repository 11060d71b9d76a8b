"""PHI audit of a recipe's sources, optionally with the position of every identifier found.

Sources are read as for preparation: small files in groups, large ones in ranges, so that all cores have work. Neither
the counts nor the positions depend on that.
"""

import csv
import logging
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from ...configs.errors import UserError
from ...storage.files import require_writable
from ..corpora.articles import pubmed_versions
from ..corpora.readers import AnySource, list_inputs
from ..division import ranges, survey
from ..division.parts import Part, parts_of, read_part
from ..division.survey import SurveyTask, is_large
from ..documents.document import Document, in_batches
from ..documents.files import FoundFile
from ..documents.spans import Span
from ..parallel import Count, ProgressCallback, available_cores, parallel_map
from ..phi.patterns import Identifier, PhiAudit, sum_audits

logger = logging.getLogger(__name__)

_COLUMNS = ("source", "file", "document", "kind", "start", "end")


class AuditTask(NamedTuple):
    source: AnySource
    part: Part
    with_positions: bool


class AuditedPart(NamedTuple):
    """The counts of a part.

    Attributes:
        documents: of each of its files.
        identifiers: if requested, with the number of their file in the part (from 0), and that of their document in
            what the part has of the file (from 1).
    """

    audit: PhiAudit
    documents: list[int]
    identifiers: list[tuple[int, int, Identifier]]


def unpacked(output: Path) -> Path:
    """Where the audit unpacks large compressed files, with the disk and the protection of the data set."""
    return output.with_name(f"{output.name}.auditing")


def audit_sources(
    sources: Sequence[AnySource],
    positions: Path | None,
    stages: Callable[[str], ProgressCallback],
    workers: int | None,
    directory: Path,
) -> dict[str, PhiAudit]:
    """Audit every source, public or not; write the identifiers found to the CSV file `positions`, if given.

    The file names a document by its number in its input file (from 1, in the reader's order), because its id may
    itself identify a patient.

    Args:
        stages: begins a stage and returns its callback for progress.
        directory: for unpacked text, which is removed at the end; what a killed audit left there is removed, too.
    """
    if positions:
        if positions.exists():
            raise UserError(f"{positions}: exists already; choose a new file")
        require_writable(positions)
    workers = workers or available_cores()
    listed = [(source, list_inputs(source)) for source in sources]
    with _spans_of(listed, stages, workers, directory) as spans:
        tasks = [
            AuditTask(source, part, positions is not None)
            for source, files in listed
            for part in parts_of(source, files, spans[source.name], lambda groups: _scan_all(groups, stages, workers))
        ]
        largest = sorted(range(len(tasks)), key=lambda number: -tasks[number].part.size)
        results = parallel_map(audit_part, [tasks[number] for number in largest], workers, stages("auditing"))
    audited = [part for _, part in sorted(zip(largest, results, strict=True), key=lambda one: one[0])]
    if positions:
        _write_positions(positions, tasks, audited)
    return {
        source.name: sum_audits(
            part.audit for task, part in zip(tasks, audited, strict=True) if task.source.name == source.name
        )
        for source in sources
    }


def audit_part(task: AuditTask, count: Count) -> AuditedPart:
    """The counts of a part and, if requested, the identifiers found."""
    result = AuditedPart(PhiAudit(), [0] * len(task.part.files), [])
    owners: list[int] = []

    def documents() -> Iterator[Document]:
        for number, documents_of_file in enumerate(read_part(task.source, task.part)):
            for document in documents_of_file:
                owners.append(number)
                yield document

    for batch in in_batches(documents()):
        texts, surrogates = zip(*((document.text, document.surrogates) for document in batch), strict=True)
        in_documents = result.audit.add_all(texts, task.source.locale, surrogates, task.source.find_names)
        for file, found in zip(owners, in_documents, strict=True):
            result.documents[file] += 1
            if task.with_positions:
                result.identifiers.extend((file, result.documents[file], identifier) for identifier in found)
        owners.clear()
        count(len(batch))
    return result


def _write_positions(path: Path, tasks: Sequence[AuditTask], audited: Sequence[AuditedPart]) -> None:
    before: Counter[tuple[str, str]] = Counter()  # documents in the earlier parts of a file
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(_COLUMNS)
        for task, result in zip(tasks, audited, strict=True):
            keys = [(task.source.name, one.path) for one in task.part.files]
            for number, document, identifier in result.identifiers:
                source, name = keys[number]
                writer.writerow((source, Path(name).name, before[keys[number]] + document, *identifier))
            before.update(dict(zip(keys, result.documents, strict=True)))


@contextmanager
def _spans_of(
    listed: Sequence[tuple[AnySource, Sequence[FoundFile]]],
    stages: Callable[[str], ProgressCallback],
    workers: int,
    directory: Path,
) -> Iterator[dict[str, dict[FoundFile, list[Span]]]]:
    """The spans of the large files of each source, whose unpacked bytes exist within the context."""
    spans: dict[str, dict[FoundFile, list[Span]]] = defaultdict(dict)
    large = [(source, file) for source, files in listed for file in files if is_large(source, file)]
    if not large:
        yield spans
        return
    lock = FileLock(directory.with_name(f".{directory.name}.lock"))
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            logger.warning(f"{directory}: in use by another audit of this recipe, which ends first")
            lock.acquire()
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(mode=0o700)
    except OSError as error:
        logger.warning(f"{directory}: cannot be written ({error.strerror}); every large file is read by one process")
        lock.release()
        yield spans
        return
    try:
        tasks = [
            SurveyTask(
                source, file, directory / str(number), directory / "unused", ranges.RANGE_BYTES, survey.UNPACK_BYTES
            )
            for number, (source, file) in enumerate(large)
        ]
        divided = parallel_map(_divide, tasks, min(workers, len(tasks)), stages("scanning"))
        for (source, file), found in zip(large, divided, strict=True):
            spans[source.name][file] = found
        yield spans
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def _divide(task: SurveyTask, count: Count) -> list[Span]:
    return survey.divide(task)


def _scan_all(
    groups: Sequence[Sequence[FoundFile]], stages: Callable[[str], ProgressCallback], workers: int
) -> list[pubmed_versions.Scan]:
    scans = parallel_map(_scan, groups, min(workers, len(groups)), stages("scanning"))
    return [one for scans_of_group in scans for one in scans_of_group]


def _scan(files: Sequence[FoundFile], count: Count) -> list[pubmed_versions.Scan]:
    scans = []
    for file in files:
        scans.append(pubmed_versions.scan(Path(file.path)))
        count(len(scans[-1].records.pmids))
    return scans
