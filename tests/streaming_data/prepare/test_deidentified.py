"""A data set of de-identified text has the same bytes however it is made, its counts, and nothing of the key."""

import base64
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.launcher.cli import app
from clinical_modernbert.streaming_data.division import groups
from clinical_modernbert.streaming_data.prepare import pipeline as preparing
from clinical_modernbert.streaming_data.prepare.config import PrepareConfig
from clinical_modernbert.streaming_data.prepare.pipeline import prepare
from clinical_modernbert.streaming_data.shards.manifest import SourceInfo, read_manifest
from clinical_modernbert.streaming_data.shards.mds import PackReader
from clinical_modernbert.streaming_data.tokenizer.tokenizer import LoadedTokenizer

PATIENTS, VISITS = 30, 4
KEY = hashlib.sha256(b"a key for this test").digest()


def silent(stage: str) -> Any:
    return lambda done, total, counted: None


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four files, in which each patient has one visit with a date, a name and a number; and the key."""
    folder: Path = tmp_path_factory.mktemp("letters")
    for visit in range(VISITS):
        rows = (
            {
                "patient": f"P{patient}",
                "text": f"Visit of Mr. Trottenburg on 2019-03-{visit + 1:02}, MRN: {4815000 + patient}."
                f" {visit + 1} pills, {40 + patient} kg.",
            }
            for patient in range(PATIENTS)
        )
        (folder / f"{visit}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "key").write_bytes(KEY)
    (folder / "key").chmod(0o600)
    return folder


@pytest.fixture
def recipe(inputs: Path, tokenizer: LoadedTokenizer, tmp_path: Path) -> Callable[..., PrepareConfig]:
    def make(output: str, replace_by: str | None = "surrogate", workers: int = 1, **keys: Any) -> PrepareConfig:
        source: dict[str, Any] = {
            "name": "letters",
            "format": "table",
            "paths": [str(inputs / "*.jsonl")],
            "licence": "own",
        }
        if replace_by:
            source |= {"clean": ["encoding", "deidentify"], "deidentify": {"replace_by": replace_by}}
        if replace_by == "surrogate":
            source["deidentify"]["key_file"] = str(inputs / "key")
        values = {"tokenizer": tokenizer.directory, "seq_length": 128, "held_out": 0.2, "workers": workers}
        return PrepareConfig.model_validate(
            {"output": tmp_path / output, "sources": [source | {"split_by": "patient"} | keys], **values}
        )

    return make


def letters(config: PrepareConfig) -> SourceInfo:
    return read_manifest(str(config.output)).sources["letters"]


def shards(output: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(output)): path.read_bytes()
        for path in output.rglob("*")
        if path.is_file() and path.name != "manifest.json"  # it holds `output` and `workers`
    }


def texts(config: PrepareConfig, tokenizer: LoadedTokenizer) -> Iterator[str]:
    for split in (name for name, counts in letters(config).splits.items() if counts.packs):
        reader = PackReader(str(config.output / "letters" / split))
        for index in range(len(reader)):
            pack = reader[index]
            for tokens in np.split(pack.tokens, np.cumsum(pack.lengths)[:-1]):
                yield tokenizer.backend.decode(tokens.tolist())


@pytest.mark.slow
def test_processes_shares_and_kills_change_no_byte_and_the_key_is_nowhere(
    recipe: Callable[..., PrepareConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "GROUP_BYTES", 0)
    monkeypatch.setattr(preparing, "_DOCUMENTS_PER_WRITER", 10)
    first, parallel, killed = recipe("first"), recipe("parallel", workers=4), recipe("killed")
    prepare(first, silent)
    prepare(parallel, silent)
    (tmp_path / "recipe.json").write_text(killed.model_dump_json())
    script = f"""
import time
from pathlib import Path
from clinical_modernbert.streaming_data.division import groups
from clinical_modernbert.streaming_data.prepare.config import PrepareConfig
from clinical_modernbert.streaming_data.prepare.pipeline import prepare
groups.GROUP_BYTES = 0
def stages(stage):
    def report(done, total, counted):
        if done and stage == "tokenizing":
            print("done", flush=True)
            time.sleep(600)
    return report
prepare(PrepareConfig.model_validate_json(Path({str(tmp_path / "recipe.json")!r}).read_text()), stages)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"done\n"
        os.kill(process.pid, signal.SIGKILL)
    assert 0 < len(list(tmp_path.rglob("*.done"))) < VISITS
    require_no_key(tmp_path)
    prepare(killed, silent)
    assert shards(first.output) == shards(parallel.output) == shards(killed.output)
    assert letters(first) == letters(parallel) == letters(killed)
    require_no_key(tmp_path)


def require_no_key(directory: Path) -> None:
    forms = [KEY, KEY.hex().encode(), base64.b64encode(KEY), str(list(KEY)).encode()]
    for path in directory.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        assert not any(form in content or form in str(path).encode() for form in forms), path


def test_the_manifest_counts_what_was_replaced_and_what_the_audit_finds_afterwards(
    recipe: Callable[..., PrepareConfig],
) -> None:
    count = PATIENTS * VISITS
    for way in ("surrogate", "placeholder"):
        prepare(recipe(way, way), silent)
        source = letters(recipe(way))
        assert source.deidentified
        assert source.deidentified.replaced_by == way
        assert source.deidentified.kinds == {"date": count, "name": count, "record_number": count}
        assert source.cleaned["deidentify"] == count
        assert source.audit
        assert (source.audit.documents, source.audit.flagged) == (count, 0)
    plain = recipe("plain", None, public=True)
    prepare(plain, silent)
    assert "deidentified" not in letters(plain).model_dump()
    assert "deidentify" not in json.dumps(plain.model_dump(mode="json")), "a recipe of before stays equal"
    prepare(public := recipe("public", "placeholder", public=True), silent)
    assert letters(public).audit


def test_no_identifier_is_in_the_tokens(recipe: Callable[..., PrepareConfig], tokenizer: LoadedTokenizer) -> None:
    for way, present in ((None, True), ("surrogate", False), ("placeholder", False)):
        prepare(config := recipe(str(way), way), silent)
        stored = [text.replace(" ", "") for text in texts(config, tokenizer)]
        assert len(stored) == PATIENTS * VISITS
        for identifier in ("Trottenburg", "48150"):
            assert any(identifier in text for text in stored) == present, (way, identifier)


def test_another_key_uses_no_results_of_the_first(
    recipe: Callable[..., PrepareConfig], inputs: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other-key"
    other.write_bytes(KEY[::-1])
    other.chmod(0o600)
    options = {"replace_by": "surrogate", "key_file": str(other)}
    stems = set()
    for config in (recipe("data"), recipe("data", deidentify=options)):
        preparing.prepare_share(config, preparing.Share(0, 1), silent)
        stems.add(frozenset(path.name for path in tmp_path.rglob("*.done")))
    assert len(stems) == 2
    assert len(max(stems, key=len)) == 2 * len(min(stems, key=len))


def test_the_recipe_must_name_the_step_and_the_key(recipe: Callable[..., PrepareConfig], inputs: Path) -> None:
    for keys, message in (
        ({"clean": ["encoding"]}, "clean does not list the step deidentify"),
        ({"deidentify": {"replace_by": "surrogate"}}, "replace_by: surrogate needs key_file"),
        ({"deidentify": {"key_file": "key"}}, "key_file is only used with replace_by: surrogate"),
    ):
        with pytest.raises(ValueError, match=message):
            recipe("data", **keys)


def test_prepare_refuses_an_open_key_before_it_reads_and_prints_counts(
    recipe: Callable[..., PrepareConfig], inputs: Path, tmp_path: Path
) -> None:
    def cmbert(command: str, config: PrepareConfig) -> Any:
        path = tmp_path / "recipe.yaml"
        path.write_text(config.model_dump_json())
        return CliRunner().invoke(app, ["data", command, str(path)])

    opened = tmp_path / "opened"
    opened.write_bytes(KEY)
    opened.chmod(0o644)
    refused = cmbert("prepare", recipe("data", deidentify={"replace_by": "surrogate", "key_file": str(opened)}))
    assert isinstance(refused.exception, UserError)
    assert "mode 0644" in str(refused.exception)
    assert not list(tmp_path.rglob("*.done"))
    printed = cmbert("prepare", recipe("data")).output
    count = PATIENTS * VISITS
    assert f"replaced by surrogates in {count} documents: date {count}, name {count}, record_number {count}" in printed
    audited = cmbert("audit", recipe("data", "placeholder")).output
    assert f"letters, de-identified: 0 of {count} documents: nothing found" in audited
    assert f"letters: {count} of {count} documents" in cmbert("audit", recipe("data", None)).output
