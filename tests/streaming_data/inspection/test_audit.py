"""The audit counts and positions are those of each file read alone, however files are grouped and divided."""

import csv
import gzip
import json
import stat
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.streaming_data.corpora.mimic_notes import MimicNotesSource
from clinical_modernbert.streaming_data.corpora.pubmed import PubMedSource
from clinical_modernbert.streaming_data.corpora.readers import AnySource, input_files, read_file
from clinical_modernbert.streaming_data.corpora.tables import TableSource
from clinical_modernbert.streaming_data.division import groups, ranges, survey
from clinical_modernbert.streaming_data.inspection.audit import audit_sources, unpacked
from clinical_modernbert.streaming_data.phi.patterns import find_identifiers

TEXTS = (
    *("Seen on 03/04/2019 by Dr. Miller.", "MRN: 1234567\nThe knee", "No pain.", "617-555-1234 or 12 Main Street"),
    "Reported to Jadwiga Wojciechowska.",
)


def silent(stage: str) -> Any:
    return lambda done, total, counted: None


@pytest.fixture
def sources(tmp_path: Path) -> list[AnySource]:
    """Small files, and files of several kilobytes: with quoted line breaks, compressed, PubMed with newer versions."""
    rng, folder = Random(0), tmp_path / "inputs"
    folder.mkdir()

    def text() -> str:
        return " ".join(rng.choice(TEXTS) for _ in range(rng.randrange(1, 4)))

    def notes(count: int) -> str:
        rows = "".join(f'N{n},P{n},"{text()}\n{text()}"\n' for n in range(count))
        return "note_id,subject_id,text\n" + rows

    for number in range(30):
        line = json.dumps({"id": str(number), "text": text()})
        (folder / f"{number:02}.jsonl").write_text(line + "\n")
    (folder / "radiology.csv").write_text(notes(150))
    (folder / "discharge.csv.gz").write_bytes(gzip.compress(notes(150).encode(), 0))
    for number in range(2):
        citations = "".join(
            f"<PubmedArticle><MedlineCitation><PMID>{pmid}</PMID><Article><ArticleTitle>{text()}</ArticleTitle></Article>"
            "</MedlineCitation></PubmedArticle>"
            for pmid in range(1 + 40 * number, 80 + 40 * number)
        )
        (folder / f"{number}.xml").write_text(f"<PubmedArticleSet>{citations}</PubmedArticleSet>")
    return [
        TableSource(name="lines", format="table", paths=[str(folder / "*.jsonl")], licence="", split_by="id"),
        MimicNotesSource(name="notes", format="mimic_notes", paths=[str(folder / "*.csv*")], licence=""),
        PubMedSource(name="pubmed", format="pubmed", paths=[str(folder / "*.xml")], licence=""),
    ]


def by_definition(sources: Sequence[AnySource]) -> list[tuple[str, ...]]:
    """The rows of the file of positions: every file alone, every text alone."""
    return [
        (source.name, file.path.name, str(number), found.kind, str(found.start), str(found.end))
        for source in sources
        for file in input_files(source)
        for number, document in enumerate(read_file(source, file), start=1)
        for found in find_identifiers(document.text, names=True)
    ]


@pytest.mark.parametrize("sizes", ["whole", "divided"])
@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_findings_do_not_depend_on_groups_ranges_and_processes(
    sources: list[AnySource], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sizes: str, workers: int
) -> None:
    tasks: dict[str, int] = {}
    unpacked_text: set[tuple[int, int]] = set()
    directory = unpacked(tmp_path / "data")
    if sizes == "divided":
        monkeypatch.setattr(groups, "GROUP_BYTES", 4 << 10)
        monkeypatch.setattr(ranges, "RANGE_BYTES", 1_000)
        monkeypatch.setattr(survey, "UNPACK_BYTES", 0)
        directory.mkdir()
        (directory / "0").write_text("left by an audit that was killed")

    def stages(stage: str) -> Any:
        def update(done: int, total: int, counted: int) -> None:
            tasks[stage] = total
            if stage == "auditing" and directory.exists():
                modes = [stat.S_IMODE(path.stat().st_mode) for path in (directory, *directory.iterdir())]
                unpacked_text.update((mode, len(modes)) for mode in modes)

        return update

    audits = audit_sources(sources, tmp_path / "findings.csv", stages, workers, directory)
    with (tmp_path / "findings.csv").open(newline="") as file:
        found = [tuple(row) for row in csv.reader(file)][1:]
    assert found == by_definition(sources)
    for source in sources:
        rows = [row for row in found if row[0] == source.name]
        assert audits[source.name].flagged == len({row[1:3] for row in rows if row[3] != "possible_name"})
        assert sum(audits[source.name].kinds.values()) == len(rows)
    assert {name: audit.documents for name, audit in audits.items()} == {"lines": 30, "notes": 300, "pubmed": 119}
    if sizes == "divided":
        assert tasks["auditing"] > 40
        assert unpacked_text == {(0o700, 2), (0o600, 2)}, "one compressed file is unpacked, for its owner only"
    else:
        assert tasks["auditing"] == 3, "files of a source are read together"
    assert not list(tmp_path.glob("*.auditing")) + list(tmp_path.glob(".*.lock"))


def test_unpacked_text_is_removed_after_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sources: list[AnySource]
) -> None:
    monkeypatch.setattr(ranges, "RANGE_BYTES", 1_000)
    monkeypatch.setattr(survey, "UNPACK_BYTES", 0)
    path = tmp_path / "inputs" / "discharge.csv.gz"
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()).replace(b"N149,P149", b"N149,"), 0))
    with pytest.raises(UserError, match="record 150 has no note_id or no subject_id"):
        audit_sources(sources[1:2], None, silent, 1, unpacked(tmp_path / "data"))
    assert not list(tmp_path.glob("*.auditing"))


def test_without_a_place_for_unpacked_text_files_are_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sources: list[AnySource], caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ranges, "RANGE_BYTES", 1_000)
    (tmp_path / "file").touch()
    audits = audit_sources(sources[1:2], None, silent, 1, unpacked(tmp_path / "file" / "data"))
    assert audits["notes"].documents == 300
    assert "data.auditing: cannot be written (" in caplog.text
