"""Shares of several processes, killed or not, give the bytes of a single process."""

import gzip
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.streaming_data.prepare.config import PrepareConfig
from clinical_modernbert.streaming_data.prepare.pipeline import prepare, prepare_share
from clinical_modernbert.streaming_data.prepare.tasks import Share, parse_share
from clinical_modernbert.streaming_data.synthetic import notes as synthetic_notes
from clinical_modernbert.streaming_data.tokenizer.tokenizer import LoadedTokenizer

PREPARE = """
from clinical_modernbert.streaming_data.division import groups
groups.GROUP_BYTES = 0
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
    path.write_bytes(gzip.compress(f"<PubmedArticleSet>{citations}</PubmedArticleSet>".encode()))


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


@pytest.mark.slow
def test_killed_and_missing_shares_give_the_same_bytes(
    base: PrepareConfig, reference: dict[str, str], tmp_path: Path
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
    assert 2 <= len(finished) < 6
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
