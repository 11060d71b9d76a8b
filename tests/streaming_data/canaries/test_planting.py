"""Canaries in prepared data sets: where they are, how often, who can read their list, and what does not change them."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.streaming_data.canaries.file import canary_file, read_canaries
from clinical_modernbert.streaming_data.canaries.identifiers import Canary, make_canaries
from clinical_modernbert.streaming_data.canaries.planting import choose_documents, plant
from clinical_modernbert.streaming_data.corpora.readers import read
from clinical_modernbert.streaming_data.division import groups, ranges
from clinical_modernbert.streaming_data.prepare.config import PrepareConfig
from clinical_modernbert.streaming_data.prepare.pipeline import prepare, prepare_share
from clinical_modernbert.streaming_data.prepare.tasks import Share
from clinical_modernbert.streaming_data.shards.manifest import manifest_hash
from clinical_modernbert.streaming_data.shards.mds import PackReader
from clinical_modernbert.streaming_data.synthetic import notes as synthetic_notes
from clinical_modernbert.streaming_data.tokenizer.tokenizer import LoadedTokenizer

LEVELS = [0, 1, 2, 4, 8]
PREPARE = "from clinical_modernbert.launcher.cli import main; main()"


def silent(stage: str) -> Any:
    return lambda done, total, counted: None


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory, tokenizer: LoadedTokenizer) -> PrepareConfig:
    folder: Path = tmp_path_factory.mktemp("inputs")
    notes = [str(path) for path in synthetic_notes.write(folder, 200, seed=1)]
    letters = "".join(json.dumps({"patient": str(n), "text": f"Letter {n}."}) + "\n" for n in range(20))
    (folder / "letters.jsonl").write_text(letters)
    return PrepareConfig.model_validate(
        {
            "output": folder / "data",
            "tokenizer": tokenizer.directory,
            "seq_length": 8192,
            "held_out": 0.2,
            "workers": 1,
            "sources": [
                {"name": "notes", "format": "mimic_notes", "paths": notes, "licence": "own"},
                {
                    "name": "letters",
                    "format": "table",
                    "paths": [str(folder / "letters.jsonl")],
                    "licence": "own",
                    "split_by": "patient",
                },
            ],
            "privacy": {"canaries": {"sources": ["notes"], "count": 4, "repeats": [8, 1, 2, 4]}},
        }
    )


@pytest.fixture(scope="module")
def prepared(recipe: PrepareConfig) -> PrepareConfig:
    prepare(recipe, silent)
    return recipe


def shards(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*.mds")}


def texts_of(config: PrepareConfig, tokenizer: LoadedTokenizer, split: str) -> dict[str, str]:
    """By its identifier the text of each document of all sources, from the tokens in the packs."""
    texts: dict[str, str] = {}
    for source in config.sources:
        reader = PackReader(str(config.output / source.name / split))
        for pack in map(reader.__getitem__, range(len(reader))):
            for name, tokens in zip(pack.doc_ids, np.split(pack.tokens, np.cumsum(pack.lengths)[:-1]), strict=True):
                texts[name] = texts.get(name, "") + tokenizer.decode(tokens)
    return texts


def test_each_canary_is_in_as_many_training_patients_as_its_level_says(
    prepared: PrepareConfig, tokenizer: LoadedTokenizer
) -> None:
    content = read_canaries(canary_file(prepared.output))
    assert Counter(canary.repeats for canary in content.canaries) == dict.fromkeys(LEVELS, 4)
    patients = {document.id: document.meta["subject_id"] for document in read(prepared.sources[0])}
    train, held_out = (texts_of(prepared, tokenizer, split) for split in ("train", "held_out"))
    for canary in content.canaries:
        holders = [name for name, text in train.items() if f"\n{canary.line}" in text]
        assert len(holders) == len({patients[name] for name in holders}) == canary.repeats == canary.kept
        assert not any(canary.secret in text or canary.name in text for text in held_out.values())
    assert len({canary.name for canary in content.canaries}) == len({c.secret for c in content.canaries}) == 20


def test_the_list_is_private_and_the_data_set_does_not_hold_it(prepared: PrepareConfig) -> None:
    path = canary_file(prepared.output)
    assert path.parent == prepared.output.parent
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    canaries = read_canaries(path).canaries
    for file in prepared.output.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert not any(c.secret.encode() in content or c.name.encode() in content for c in canaries)
    card = (prepared.output / "README.md").read_text()
    assert "planted in training documents of notes to measure memorization: 4 at each of the levels" in card


def test_everything_else_is_as_without_canaries(
    prepared: PrepareConfig, tokenizer: LoadedTokenizer, tmp_path: Path
) -> None:
    """Texts but for their lines, splits, and what the audit finds; and a recipe without the section has no new key."""
    plain = prepared.model_copy(update={"output": tmp_path / "data", "privacy": None})
    without, planted = prepare(plain, silent), json.loads((prepared.output / "manifest.json").read_text())
    assert not canary_file(plain.output).exists()
    assert "privacy" not in json.loads(without.to_json())["config"]
    assert shards(plain.output / "letters") == shards(prepared.output / "letters")
    lines = {canary.line for canary in read_canaries(canary_file(prepared.output)).canaries}
    for split in ("train", "held_out"):
        stripped = {
            name: "\n".join(line for line in text.split("\n") if line not in lines)
            for name, text in texts_of(prepared, tokenizer, split).items()
        }
        assert stripped == texts_of(plain, tokenizer, split)
    audit = without.sources["notes"].audit
    assert audit is not None
    assert planted["sources"]["notes"]["audit"] == audit.model_dump()


@pytest.mark.slow
def test_the_bytes_do_not_depend_on_division_processes_shares_and_kills(
    prepared: PrepareConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = shards(prepared.output)
    monkeypatch.setattr(groups, "GROUP_BYTES", 0)
    monkeypatch.setattr(ranges, "RANGE_BYTES", 60_000)
    divided = prepared.model_copy(update={"output": tmp_path / "divided" / "data", "workers": 2})
    prepare_share(divided, Share(1, 3), silent)
    prepare(divided, silent)
    assert shards(divided.output) == expected

    killed = prepared.model_copy(update={"output": tmp_path / "killed" / "data"})
    file = tmp_path / "recipe.yaml"
    file.write_text(killed.model_dump_json())
    process = subprocess.Popen([sys.executable, "-c", PREPARE, "data", "prepare", str(file)])
    deadline = time.monotonic() + 60
    while not any((tmp_path / "killed").rglob("*.partial")) and time.monotonic() < deadline:
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not canary_file(killed.output).exists()
    prepare(killed, silent)
    assert shards(killed.output) == expected
    lists = [read_canaries(canary_file(one.output)).canaries for one in (prepared, divided, killed)]
    assert lists[0] == lists[1] == lists[2]


def test_a_list_of_other_data_is_never_replaced(recipe: PrepareConfig, tmp_path: Path) -> None:
    first = recipe.model_copy(update={"output": tmp_path / "data", "sources": recipe.sources[:1]})
    manifest = prepare(first, silent)
    path = canary_file(first.output)
    assert read_canaries(path).data == manifest_hash(manifest)
    before = path.read_bytes()
    (tmp_path / "data").rename(tmp_path / "old")
    with pytest.raises(UserError, match=r"data\.canaries\.json: lists the canaries of another data set"):
        prepare(first.model_copy(update={"seed": 5}), silent)
    assert path.read_bytes() == before
    assert sorted(one.name for one in tmp_path.iterdir()) == ["data.canaries.json", "old"]
    prepare(first, silent)  # the same data again
    assert path.read_bytes() == before


def test_duplicates_that_are_dropped_are_counted(tmp_path: Path, tokenizer: LoadedTokenizer) -> None:
    """Notes that are copied forward: of nearly equal ones the first is kept, with what was planted in it."""
    body = "\n".join(f"The patient was seen on day {day} and walked {day * 7} feet with a cane." for day in range(60))
    rows = [{"patient": str(number), "text": f"{body}\nSigned {number}"} for number in range(30)]
    (tmp_path / "notes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = {"name": "notes", "format": "table", "paths": [str(tmp_path / "notes.jsonl")], "licence": "own"}
    values = {
        "output": tmp_path / "data",
        "tokenizer": tokenizer.directory,
        "seq_length": 2048,
        "held_out": 0,
        "workers": 1,
        "sources": [source | {"split_by": "patient"}],
        "near_duplicates": {"sources": ["notes"]},
        "privacy": {"canaries": {"sources": ["notes"], "count": 2}},
    }
    manifest = prepare(PrepareConfig.model_validate(values), silent)
    documents = manifest.sources["notes"].splits["train"].documents
    assert documents < 30
    canaries = read_canaries(canary_file(tmp_path / "data")).canaries
    assert sum(canary.kept for canary in canaries) < sum(canary.repeats for canary in canaries)
    assert all(canary.kept <= min(documents, canary.repeats) for canary in canaries)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"sources": ["other"]}, "privacy.canaries names other; the sources are notes, letters"),
        ({"sources": ["notes"], "repeats": [0]}, "at least one level must be above 0"),
        ({"sources": []}, "at least 1 item"),
    ],
)
def test_a_section_that_plants_nothing_is_an_error(recipe: PrepareConfig, section: Any, message: str) -> None:
    values = recipe.model_dump() | {"privacy": {"canaries": section}}
    with pytest.raises(ValueError, match=message):
        PrepareConfig.model_validate(values)


def test_too_few_patients_are_an_error(recipe: PrepareConfig, tmp_path: Path) -> None:
    values = recipe.model_dump() | {"privacy": {"canaries": {"sources": ["letters"]}}, "output": tmp_path / "data"}
    with pytest.raises(UserError, match=r"its sources have 1[0-9] training patients, and a canary with 16 repeats"):
        prepare(PrepareConfig.model_validate(values | {"held_out": 0.3}), silent)


@given(
    documents=st.lists(st.lists(st.integers(0, 9), max_size=30), min_size=1, max_size=5),
    levels=st.lists(st.integers(0, 4), min_size=1, max_size=20),
)
def test_lines_are_spread_evenly_over_patients(documents: list[list[int]], levels: list[int]) -> None:
    """Whatever the parts and the patients; 0 stands for held-out documents, which receive nothing."""
    copies = iter(range(1, 10**6))
    parts = [np.array([(one, next(copies)) for one in part], np.uint64).reshape(-1, 2) for part in documents]
    canaries = [Canary(kind="telephone", name="", secret="", repeats=level, kept=level) for level in levels]
    everything = np.concatenate(parts)
    flat = everything[:, 0]
    if max(levels) > len(set(flat.tolist()) - {0}):
        with pytest.raises(UserError):
            choose_documents(canaries, parts)
        return
    planted = choose_documents(canaries, parts)
    received = [(int(part[at, 0]), number) for part, chosen in zip(parts, planted, strict=True)
                for at, numbers in chosen.items() for number in numbers]  # fmt: skip
    assert Counter(number for _, number in received) == Counter({n: level for n, level in enumerate(levels) if level})
    assert len(set(received)) == len(received), "one canary is twice in a patient's documents"
    lines = Counter(patient for patient, _ in received)
    assert not lines[0]
    assert not lines or max(lines.values()) - min(lines[one] for one in set(flat.tolist()) - {0}) <= 1
    joined = choose_documents(canaries, [everything])[0]
    starts = np.cumsum([0, *map(len, parts)])
    assert joined == {at + int(start): n for start, chosen in zip(starts, planted, strict=False)
                      for at, n in chosen.items()}  # fmt: skip


def test_lines_are_planted_whole_and_the_seed_decides_them() -> None:
    text = "Title\n\nFirst.\nSecond."
    lines = [canary.line for canary in make_canaries(3, 20, [0, 1])]
    planted = plant(text, "a", lines)
    assert [line for line in planted.split("\n") if line not in lines] == text.split("\n")
    assert planted.startswith("Title\n")
    assert len({plant(text, str(n), lines[:1]) for n in range(20)}) == 4
    assert make_canaries(3, 20, [0, 1]) == make_canaries(3, 20, [0, 1])
    assert not {c.secret for c in make_canaries(3, 20, [0, 1])} & {c.secret for c in make_canaries(4, 20, [0, 1])}
    kinds = [canary.kind for canary in make_canaries(0, 6, [0])]
    assert all(one != other for one, other in pairwise(kinds))
