"""The reports of a run's checkpoints: attack by attack, each written as soon as it is there."""

import logging
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ...configs.progress import part_of
from ...evaluation.privacy.card import card_section
from ...evaluation.privacy.report import FILE, PrivacyReport, read_report, write_report
from ...storage.files import atomic_write
from ...streaming_data.canaries.file import read_canaries
from ...streaming_data.canaries.identifiers import Canary
from ...streaming_data.shards.manifest import read_manifest as read_data_manifest
from ...training.checkpoint.manifest import CheckpointManifest, read_manifest
from ...training.export.public import public_name
from ...training.recipe.provenance import provenance
from .attacks import ATTACKS, Subject
from .models import open_checkpoint, open_reference, open_untrained, seen_packs

if TYPE_CHECKING:
    from ...evaluation.privacy.scorer import Scorer

logger = logging.getLogger(__name__)
SECTION = "privacy.md"
WORKING = "working"


class Request(NamedTuple):
    """What a person asks for.

    Attributes:
        directory: of the reports.
        data: address of the data set; None: members and others are not compared.
        canaries: the list of those in the data; None: exposure is not measured.
        sources: to attack; none: all with texts of patients.
        references: addresses of models whose losses are subtracted, in addition to those of the untrained one.
    """

    directory: Path
    data: str | None
    canaries: Path | None
    sources: tuple[str, ...]
    samples: int
    seed: int
    references: tuple[str, ...] = ()

    def report_of(self, checkpoint: Path) -> Path:
        return self.directory / checkpoint.name / FILE


def read_reports(directory: Path) -> list[PrivacyReport]:
    """All reports in a directory of them, by step."""
    return sorted((read_report(file) for file in directory.glob(f"*/{FILE}")), key=lambda report: report.step)


def attack_checkpoint(checkpoint: Path, request: Request) -> PrivacyReport:
    """Make every attack for which there is what it needs.

    Sections of an earlier report of the same weights, data, samples and so on are kept.

    Raises:
        UserError: the checkpoint is corrupt, or what the run started with is not there any more.
    """
    manifest = read_manifest(checkpoint)
    model = open_checkpoint(checkpoint, manifest)
    path = request.report_of(checkpoint)
    report = _kept(path, _empty(model, checkpoint, manifest, request))
    subject = _subject(model, checkpoint, manifest, request)
    for name, attack in ATTACKS.items():
        if attack.needs(subject) and getattr(report, name) is None:
            with part_of(f"{checkpoint.name}: {name}"):
                section = attack.run(subject)
            now = datetime.now(timezone.utc).isoformat(timespec="seconds")
            report = report.model_copy(update={name: section, "date": now})
            write_report(report, path)
    atomic_write(path.with_name(SECTION), card_section(report))
    return report


def _subject(model: "Scorer", checkpoint: Path, manifest: CheckpointManifest, request: Request) -> Subject:
    from ...evaluation.privacy.patients import patient_sources

    data = read_data_manifest(request.data) if request.data else None
    canaries = read_canaries(request.canaries).canaries if request.canaries else []
    if data and data.config.get("privacy") and not canaries:
        logger.warning(
            f"{request.data}: canaries were planted in it, and their list is not there: training documents are "
            "recognized by them; name the list with --canaries"
        )
    return Subject(
        model=model,
        untrained=open_untrained(checkpoint, manifest),
        canaries=_sampled(canaries, request.samples),
        planted=tuple(canary.line for canary in canaries),
        data=request.data,
        manifest=data,
        sources=request.sources or (tuple(patient_sources(data)) if data else ()),
        seen=seen_packs(checkpoint, manifest, request.data) if request.data else {},
        references={Path(address).name: open_reference(address, model) for address in request.references},
        samples=request.samples,
        seed=request.seed,
        working=request.directory / WORKING,
    )


def _sampled(canaries: Sequence[Canary], most: int) -> tuple[Canary, ...]:
    """At each level at most so many."""
    chosen: list[Canary] = []
    for canary in canaries:
        if sum(other.repeats == canary.repeats for other in chosen) < most:
            chosen.append(canary)
    return tuple(chosen)


def _empty(model: "Scorer", checkpoint: Path, manifest: CheckpointManifest, request: Request) -> PrivacyReport:
    return PrivacyReport(
        weights=model.weights,
        checkpoint=checkpoint.name,
        step=manifest.step,
        data=manifest.data_manifest,
        data_name=public_name(manifest.data_address or "-"),
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        git_revision=provenance().git_revision,
        samples=request.samples,
        seed=request.seed,
        sources=list(request.sources),
        references=[public_name(address) for address in request.references],
    )


def _kept(path: Path, empty: PrivacyReport) -> PrivacyReport:
    """The report that is there, if it is of the same weights, data, samples and so on."""
    if not path.is_file():
        return empty
    earlier = read_report(path)
    same = ("weights", "data", "samples", "seed", "sources", "references")
    return earlier if all(getattr(earlier, key) == getattr(empty, key) for key in same) else empty
