"""PHI audit of a recipe's sources, optionally with the position of every identifier found."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ...configs.errors import UserError
from ...storage.files import require_writable
from ..corpora.readers import AnySource, InputFile, input_files, read_file
from ..documents.document import in_batches
from ..parallel import Count, ProgressCallback, available_cores, parallel_map
from .patterns import Identifier, PhiAudit, sum_audits

_COLUMNS = ("source", "file", "document", "kind", "start", "end")


class AuditTask(NamedTuple):
    source: AnySource
    file: InputFile
    with_positions: bool


def audit_sources(
    sources: Sequence[AnySource], positions: Path | None, progress: ProgressCallback, workers: int | None = None
) -> dict[str, PhiAudit]:
    """Audit every source, public or not; write the identifiers found to the CSV file `positions`, if given.

    The file names a document by its number in its input file (from 1, in the reader's order), because its id may
    itself identify a patient.
    """
    if positions:
        if positions.exists():
            raise UserError(f"{positions}: exists already; choose a new file")
        require_writable(positions)
    tasks = [AuditTask(source, file, positions is not None) for source in sources for file in input_files(source)]
    results = parallel_map(audit_file, tasks, workers or available_cores(), progress)
    if positions:
        with positions.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(_COLUMNS)
            for task, (_, identifiers) in zip(tasks, results, strict=True):
                writer.writerows(
                    (task.source.name, task.file.path.name, number, *identifier) for number, identifier in identifiers
                )
    return {
        source.name: sum_audits(
            audit for task, (audit, _) in zip(tasks, results, strict=True) if task.source.name == source.name
        )
        for source in sources
    }


def audit_file(task: AuditTask, count: Count) -> tuple[PhiAudit, list[tuple[int, Identifier]]]:
    """The counts of a file and, if requested, the identifiers found with the number of their document."""
    audit = PhiAudit()
    identifiers: list[tuple[int, Identifier]] = []
    for batch in in_batches(read_file(task.source, task.file)):
        first = audit.documents + 1
        in_documents = audit.add_all([document.text for document in batch], task.source.locale)
        if task.with_positions:
            for number, found in enumerate(in_documents, first):
                identifiers += [(number, identifier) for identifier in found]
        count(len(batch))
    return audit, identifiers
