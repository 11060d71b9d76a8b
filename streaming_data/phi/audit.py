"""An audit of a recipe's sources, with the place of every finding if that is wanted."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ...configs.errors import UserError
from ...storage.files import require_writable
from ..corpora.readers import AnySource, InputFile, input_files, read_file
from ..parallel import Count, Report, cores, in_parallel
from .patterns import Audit, Finding, sum_audits

_COLUMNS = ("source", "file", "document", "kind", "start", "end")


class AuditTask(NamedTuple):
    source: AnySource
    file: InputFile
    with_places: bool


def audit_sources(
    sources: Sequence[AnySource], positions: Path | None, report: Report, workers: int | None = None
) -> dict[str, Audit]:
    """Audits every source, public or not; `positions` becomes a CSV file of findings.

    A document is named there by its number in its file (from 1, in the reader's order), as its id may be a patient's.
    """
    if positions:
        if positions.exists():
            raise UserError(f"{positions}: exists already; choose a new file")
        require_writable(positions)
    tasks = [AuditTask(source, file, positions is not None) for source in sources for file in input_files(source)]
    results = in_parallel(audit_file, tasks, workers or cores(), report)
    if positions:
        with positions.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(_COLUMNS)
            for task, (_, places) in zip(tasks, results, strict=True):
                writer.writerows(
                    (task.source.name, task.file.path.name, number, *finding) for number, finding in places
                )
    return {
        source.name: sum_audits(
            found for task, (found, _) in zip(tasks, results, strict=True) if task.source.name == source.name
        )
        for source in sources
    }


def audit_file(task: AuditTask, count: Count) -> tuple[Audit, list[tuple[int, Finding]]]:
    """The counts of a file, and its findings with the number of their document if they are wanted."""
    audit = Audit()
    places: list[tuple[int, Finding]] = []
    for number, document in enumerate(read_file(task.source, task.file), start=1):
        findings = audit.add(document.text)
        if task.with_places:
            places += [(number, finding) for finding in findings]
        count(1)
    return audit, places
