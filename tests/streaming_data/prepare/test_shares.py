"""Several processes, as on the nodes of a cluster, on one output: killed or not, the bytes are those of one process."""

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


def silent(stage: str) -> Any:
    return lambda done, total, counted: None


def pubmed(path: Path, first: int) -> None:
    """400 citations, of which half are in the next file again, newer."""
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
        pubmed(folder / f"{number}.xml.gz", 1 + 200 * number)
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
def undisturbed(base: PrepareConfig) -> dict[str, str]:
    prepare(base, silent)
    return hashes(base.output)


def hashes(directory: Path) -> dict[str, str]:
    """Of all files but the manifest, which names `output`, and of what the manifest counts."""
    found = {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and path.name != "manifest.json"
    }
    return found | {"sources": json.dumps(json.loads((directory / "manifest.json").read_text())["sources"])}


def start(recipe: Path, *options: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "clinical_modernbert.launcher", "data", "prepare", str(recipe), *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def test_shares_killed_and_left_out_end_in_the_same_bytes(
    base: PrepareConfig, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    """Of four shares one is killed while it writes, one killed and run again, one never started."""
    config = base.model_copy(update={"output": tmp_path / "data"})
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(config.model_dump_json())
    shares = [start(recipe, "--share", f"{number}/4") for number in range(3)]
    deadline = time.monotonic() + 60
    while not any(tmp_path.rglob("*-*.pieces")) and time.monotonic() < deadline:
        time.sleep(0.002)
    for process in shares[:2]:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    again = start(recipe, "--share", "1/4")
    for process in (shares[2], again):
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0, output.decode()
    finished = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("tokenised/*/*.done")}
    assert 2 <= len(finished) < 6
    assert not config.output.exists()

    seen: dict[Path, int] = {}

    def stages(stage: str) -> Any:
        def report(done: int, total: int, counted: int) -> None:
            if stage == "packing":
                seen.update({path: path.stat().st_mtime_ns for path in finished if path.is_file()})

        return report

    prepare(config, stages)
    assert seen == finished, "what a share had done was not done again"
    assert hashes(config.output) == undisturbed
    assert sorted(os.listdir(tmp_path)) == ["data", "recipe.yaml"]


def test_a_share_beside_the_whole(base: PrepareConfig, undisturbed: dict[str, str], tmp_path: Path) -> None:
    """A share that is still at work when another process publishes ends without harm."""
    config = base.model_copy(update={"output": tmp_path / "data"})

    def stages(stage: str) -> Any:
        def report(done: int, total: int, counted: int) -> None:
            if stage == "tokenising" and done == 1 and not config.output.exists():
                prepare(config, silent)

        return report

    assert prepare_share(config, Share(0, 2), stages) == 3
    assert hashes(config.output) == undisturbed
    with pytest.raises(UserError, match="exists already"):
        prepare_share(config, Share(1, 2), silent)


def test_damage_in_a_share_is_told_and_the_others_work_stays(base: PrepareConfig, tmp_path: Path) -> None:
    path = tmp_path / "notes.csv"
    path.write_text("note_id,subject_id,body\n1,1,Seen in clinic\n")
    notes = base.sources[1].model_copy(update={"paths": [str(path)]})
    config = base.model_copy(update={"output": tmp_path / "data", "sources": [base.sources[0], notes]})
    with pytest.raises(UserError, match=r"notes\.csv: no column text"):
        prepare_share(config, Share(0, 1), silent)
    left = sorted(path.suffix for path in (tmp_path / "data.building" / "tokenised").rglob("*.*"))
    assert left == [".done"] * 4 + [".npy"] * 4 + [".pieces"] * 4


@given(st.lists(st.integers(), unique=True), st.integers(1, 7), st.data())
def test_shares_are_a_partition_and_each_begins_with_its_own(items: list[int], count: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, count - 1))
    mine = items[index::count]
    assert Share(index, count).first(items)[: len(mine)] == mine
    assert sorted(Share(index, count).first(items)) == sorted(items)


def test_the_option(tmp_path: Path) -> None:
    assert parse_share("3/16") == Share(3, 16)
    for wrong in ("16/16", "1", "-1/4", "1/0", "a/b"):
        with pytest.raises(UserError, match="expected I/N with I from 0 to N - 1"):
            parse_share(wrong)
