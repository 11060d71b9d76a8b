"""Shares of several processes, killed or not, give the bytes of a single process."""

import gzip
import hashlib
import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.streaming_data.division import ranges, survey
from clinical_modernbert.streaming_data.prepare import tasks
from clinical_modernbert.streaming_data.prepare.config import PrepareConfig
from clinical_modernbert.streaming_data.prepare.pipeline import prepare, prepare_share
from clinical_modernbert.streaming_data.prepare.tasks import Share, parse_share
from clinical_modernbert.streaming_data.synthetic import notes as synthetic_notes
from clinical_modernbert.streaming_data.tokenizer.tokenizer import LoadedTokenizer

PREPARE = """
import os
from clinical_modernbert.streaming_data.division import groups, ranges, survey
groups.GROUP_BYTES = 0
if "RANGE_BYTES" in os.environ:
    ranges.RANGE_BYTES, survey.UNPACK_BYTES = int(os.environ["RANGE_BYTES"]), 0
from clinical_modernbert.launcher.cli import main
main()
"""


def silent(stage: str) -> Any:
    return lambda done, total, counted: None


def write_pubmed(path: Path, first: int) -> None:
    """Write 400 citations; the next file holds newer versions of half of them."""
    citations = "".join(
        f"<PubmedArticle><MedlineCitation><PMID>{pmid}</PMID><Article><ArticleTitle>Study {pmid} of {path.name}."
        f"</ArticleTitle></Article></MedlineCitation></PubmedArticle>"
        for pmid in range(first, first + 400)
    )
    path.write_bytes(gzip.compress(f"<PubmedArticleSet>{citations}</PubmedArticleSet>".encode(), 0))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, tokenizer: LoadedTokenizer) -> PrepareConfig:
    folder: Path = tmp_path_factory.mktemp("inputs")
    for number in range(4):
        write_pubmed(folder / f"{number}.xml.gz", 1 + 200 * number)
    notes = [str(path) for path in synthetic_notes.write(folder, 400, seed=1)]
    values = {
        "output": folder / "data",
        "tokenizer": tokenizer.directory,
        "seq_length": 512,
        "workers": 1,
        "near_duplicates": {"sources": ["pubmed"]},
        "sources": [
            {"name": "pubmed", "format": "pubmed", "paths": [str(folder / "*.xml.gz")], "licence": "own"},
            {"name": "notes", "format": "mimic_notes", "paths": notes, "licence": "own", "synthetic": True},
        ],
    }
    return PrepareConfig.model_validate(values)


@pytest.fixture(scope="module")
def reference(base: PrepareConfig) -> dict[str, str]:
    prepare(base, silent)
    return hashes(base.output)


def hashes(directory: Path) -> dict[str, str]:
    """Of all files except the manifest, which names `output`; and the manifest's section of sources."""
    digests = {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name != "manifest.json"
    }
    return digests | {"sources": json.dumps(json.loads((directory / "manifest.json").read_text())["sources"])}


def start(recipe: Path, *options: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-c", PREPARE, "data", "prepare", str(recipe), *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


@pytest.fixture(params=[None, 20_000], ids=["files", "ranges"])
def least_tasks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many tasks there are at least: one per file, or one per 20 kB, for which gzip files are unpacked."""
    if request.param is None:
        return 6
    monkeypatch.setattr(ranges, "RANGE_BYTES", request.param)
    monkeypatch.setattr(survey, "UNPACK_BYTES", 0)
    monkeypatch.setenv("RANGE_BYTES", str(request.param))
    return 20


@pytest.mark.slow
def test_killed_and_missing_shares_give_the_same_bytes(
    base: PrepareConfig, reference: dict[str, str], tmp_path: Path, least_tasks: int
) -> None:
    """Of four shares one is killed while it writes, one is killed and run again, and one is never started."""
    config = base.model_copy(update={"output": tmp_path / "data"})
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(config.model_dump_json())
    shares = [start(recipe, "--share", f"{number}/4") for number in range(3)]
    deadline = time.monotonic() + 60
    while not any(tmp_path.rglob(".*.segments.*.partial")) and time.monotonic() < deadline:
        time.sleep(0.002)
    for process in shares[:2]:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    again = start(recipe, "--share", "1/4")
    for process in (shares[2], again):
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0, output.decode()
    finished = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("tokenized/*/*.done")}
    assert least_tasks // 3 <= len(finished)
    assert len(finished) < 6 or least_tasks > 6
    assert not config.output.exists()

    seen: dict[Path, int] = {}

    def stages(stage: str) -> Any:
        def report(done: int, total: int, counted: int) -> None:
            if stage == "packing":
                seen.update({path: path.stat().st_mtime_ns for path in finished if path.is_file()})

        return report

    prepare(config, stages)
    assert seen == finished, "files tokenized by a share are not tokenized again"
    assert hashes(config.output) == reference
    assert sorted(os.listdir(tmp_path)) == ["data", "recipe.yaml"]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_ranges_of_files_give_the_same_bytes(
    base: PrepareConfig, reference: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """Compressed and plain files in ranges of any size; what was unpacked is private, and removed."""
    monkeypatch.setattr(ranges, "RANGE_BYTES", 9_000)
    monkeypatch.setattr(survey, "UNPACK_BYTES", 0)
    config = base.model_copy(update={"output": tmp_path / "data", "workers": workers})
    modes: set[int] = set()
    tasks: list[int] = []

    def stages(stage: str) -> Any:
        def report(done: int, total: int, counted: int) -> None:
            unpacked = list((tmp_path / "data.building" / "unpacked").glob("*"))
            if stage == "tokenizing":
                tasks.append(total)
                modes.update(stat.S_IMODE(path.stat().st_mode) for path in unpacked)
                assert len(unpacked) == 4
            elif stage == "packing":
                assert not unpacked

        return report

    prepare(config, stages)
    assert modes == {0o600}
    assert tasks[0] > 40
    assert hashes(config.output) == reference


def test_what_was_unpacked_may_be_lost(base: PrepareConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that was killed after it removed the unpacked text, and whose results another version replaces."""
    monkeypatch.setattr(ranges, "RANGE_BYTES", 9_000)
    monkeypatch.setattr(survey, "UNPACK_BYTES", 0)
    config = base.model_copy(update={"output": tmp_path / "data", "sources": base.sources[:1]})
    prepare_share(config, Share(0, 1), silent)
    for path in [*tmp_path.rglob("unpacked/*"), *tmp_path.rglob("tokenized/*/*.done")]:
        path.unlink()
    assert prepare(config, silent).sources["pubmed"].splits["train"].documents > 900


def test_signatures_of_another_scheme_are_made_again(
    base: PrepareConfig,
    reference: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Those of two schemes agree nowhere, so copies of each other would stay. What has none is used."""
    config = base.model_copy(update={"output": tmp_path / "data"})
    with monkeypatch.context() as patch:
        patch.setattr(tasks, "SCHEME", 1)
        prepare_share(config, Share(0, 1), silent)
    by_source = {name: len(list(tmp_path.rglob(f"tokenized/{name}/*.done"))) for name in ("pubmed", "notes")}
    assert all(by_source.values())
    prepare(config, silent)
    assert f"{by_source['pubmed']:,} finished tasks are of other files, settings or versions" in caplog.text
    assert hashes(config.output) == reference


@pytest.mark.parametrize("fault", ["identifier", "fields", "encoding", "truncated"])
def test_an_error_in_a_range_is_that_of_the_file(
    base: PrepareConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """With the numbers of the complete file, and its first error, though the last ranges are read first."""
    lines = [f'N{number},P{number},"Note\n{number}"\n' for number in range(1_000)]
    for number in (700, 900):
        lines[number] = {
            "identifier": f'N{number},,"Note"\n',
            "fields": f"N{number},P{number}\n",
            "encoding": f"N{number},P\udcff,x\n",
            "truncated": lines[number],
        }[fault]
    content = ("note_id,subject_id,text\n" + "".join(lines)).encode(errors="surrogateescape")
    path = tmp_path / ("notes.csv.gz" if fault == "truncated" else "notes.csv")
    path.write_bytes(gzip.compress(content)[:-100] if fault == "truncated" else content)
    notes = base.sources[1].model_copy(update={"paths": [str(path)]})
    messages = []
    for size in (ranges.RANGE_BYTES, 1_000):
        monkeypatch.setattr(ranges, "RANGE_BYTES", size)
        monkeypatch.setattr(survey, "UNPACK_BYTES", 0)
        config = base.model_copy(update={"output": tmp_path / str(size) / "data", "sources": [notes]})
        with pytest.raises(UserError) as caught:
            prepare_share(config.model_copy(update={"near_duplicates": None}), Share(0, 1), silent)
        messages.append(str(caught.value))
        divided = len(list(tmp_path.rglob("divided/*.done")))
        assert divided == (size == 1_000)
    assert messages[0] == messages[1]
    assert "701" in messages[0] or "700" in messages[0] or fault in ("encoding", "truncated")


@pytest.mark.slow
def test_a_share_may_run_while_prepare_publishes(
    base: PrepareConfig, reference: dict[str, str], tmp_path: Path
) -> None:
    """A share that is still running when another process publishes the data set ends without an error."""
    config = base.model_copy(update={"output": tmp_path / "data"})

    def stages(stage: str) -> Any:
        def report(done: int, total: int, counted: int) -> None:
            if stage == "tokenizing" and done == 1 and not config.output.exists():
                prepare(config, silent)

        return report

    assert prepare_share(config, Share(0, 2), stages) == 3
    assert hashes(config.output) == reference
    with pytest.raises(UserError, match="exists already"):
        prepare_share(config, Share(1, 2), silent)


def test_a_bad_input_of_a_share_keeps_finished_files(base: PrepareConfig, tmp_path: Path) -> None:
    path = tmp_path / "notes.csv"
    path.write_text("note_id,subject_id,body\n1,1,Seen in clinic\n")
    notes = base.sources[1].model_copy(update={"paths": [str(path)]})
    config = base.model_copy(update={"output": tmp_path / "data", "sources": [base.sources[0], notes]})
    with pytest.raises(UserError, match=r"notes\.csv: no column text"):
        prepare_share(config, Share(0, 1), silent)
    left = sorted(path.suffix for path in (tmp_path / "data.building" / "tokenized").rglob("*.*"))
    assert left == [".done"] * 4 + [".npy"] * 4 + [".segments"] * 4


@given(st.lists(st.integers(), unique=True), st.integers(1, 7), st.data())
def test_own_first_reorders_items_with_those_of_the_share_first(
    items: list[int], count: int, data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, count - 1))
    own = items[index::count]
    assert Share(index, count).own_first(items)[: len(own)] == own
    assert sorted(Share(index, count).own_first(items)) == sorted(items)


def test_parse_share(tmp_path: Path) -> None:
    assert parse_share("3/16") == Share(3, 16)
    for wrong in ("16/16", "1", "-1/4", "1/0", "a/b"):
        with pytest.raises(UserError, match="expected I/N with I from 0 to N - 1"):
            parse_share(wrong)
