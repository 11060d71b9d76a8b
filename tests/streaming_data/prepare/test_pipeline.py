"""Prepared data sets hold every document once, split by patient, reproducibly; none is published incomplete."""

import csv
import gzip
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.streaming_data.corpora.readers import read
from clinical_modernbert.streaming_data.division import groups
from clinical_modernbert.streaming_data.documents.document import is_held_out
from clinical_modernbert.streaming_data.parallel import in_processes
from clinical_modernbert.streaming_data.prepare import manifest as manifests
from clinical_modernbert.streaming_data.prepare import pipeline as preparing
from clinical_modernbert.streaming_data.prepare.config import PrepareConfig
from clinical_modernbert.streaming_data.prepare.pipeline import prepare
from clinical_modernbert.streaming_data.prepare.tasks import plan_tasks
from clinical_modernbert.streaming_data.shards.manifest import FileInfo, read_manifest
from clinical_modernbert.streaming_data.shards.mds import PackReader
from clinical_modernbert.streaming_data.shards.pack import Pack
from clinical_modernbert.streaming_data.synthetic import notes as synthetic_notes
from clinical_modernbert.streaming_data.tokenizer import tokenizer as tokenizers
from clinical_modernbert.streaming_data.tokenizer.tokenizer import LoadedTokenizer

SEQ_LENGTH = 512


def silent(stage: str) -> Any:
    return lambda done, total, counted: None


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Notes of patients with several notes, and a table with duplicates and blanks."""
    folder: Path = tmp_path_factory.mktemp("inputs")
    synthetic_notes.write(folder, 120, seed=2)
    rows = [
        {"patient": f"{90_000_000 + number}", "text": f"Seen in clinic for problem {number}."} for number in range(200)
    ]
    rows += [rows[5], rows[7], {"patient": "9", "text": "  \n"}]
    (folder / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def config(inputs: Path, tokenizer: LoadedTokenizer, output: Path, **options: Any) -> PrepareConfig:
    notes = [str(inputs / name) for name in ("discharge.csv", "radiology.csv")]
    values = {
        "output": output,
        "tokenizer": tokenizer.directory,
        "seq_length": SEQ_LENGTH,
        "held_out": 0.2,
        "window": 64,
        "workers": 1,
        "sources": [
            {"name": "notes", "format": "mimic_notes", "paths": notes, "licence": "own", "synthetic": True},
            {
                "name": "own",
                "format": "table",
                "paths": [str(inputs / "own.jsonl")],
                "licence": "own",
                "split_by": "patient",
            },
        ],
    }
    return PrepareConfig.model_validate(values | options)


@pytest.fixture(scope="session")
def prepared(inputs: Path, tokenizer: LoadedTokenizer, tmp_path_factory: pytest.TempPathFactory) -> PrepareConfig:
    values = config(inputs, tokenizer, tmp_path_factory.mktemp("out") / "data")
    prepare(values, silent)
    return values


def packs(output: Path, source: str, split: str) -> Iterator[Pack]:
    reader = PackReader(str(output / source / split))
    return (reader[index] for index in range(len(reader)))


def segments(output: Path, source: str, split: str) -> Iterator[tuple[str, np.ndarray]]:
    for pack in packs(output, source, split):
        yield from zip(pack.doc_ids, np.split(pack.tokens, np.cumsum(pack.lengths)[:-1]), strict=True)


def hashes(directory: Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


def test_every_documents_tokens_are_stored_once(prepared: PrepareConfig, tokenizer: LoadedTokenizer) -> None:
    for source in prepared.sources:
        stored: dict[str, list[int]] = {}
        for split in ("train", "held_out"):
            for name, tokens in segments(prepared.output, source.name, split):
                assert 2 < len(tokens) <= SEQ_LENGTH
                stored.setdefault(name, []).extend(tokens[1:-1].tolist())
        texts = {document.id: document.text for document in read(source) if document.text.strip()}
        first = {text: name for name, text in reversed(texts.items())}
        assert stored.keys() == set(first.values())
        for text, name in first.items():
            expected = tokenizers.encode(tokenizer, [text])[0].tokens.tolist()
            assert sorted(stored[name]) == sorted(expected), "segments of a long document may be stored in any order"
            if len(expected) <= SEQ_LENGTH - 2:
                assert stored[name] == expected


def test_no_patient_is_in_both_splits_of_a_source(prepared: PrepareConfig) -> None:
    splits: dict[str, set[str]] = {"train": set(), "held_out": set()}
    for source in prepared.sources:
        patients = {document.id: document.meta[source.split_by] for document in read(source)}
        for split, seen in splits.items():
            seen |= {f"{source.split_by} {patients[name]}" for name, _ in segments(prepared.output, source.name, split)}
    assert not splits["train"] & splits["held_out"]
    assert 0.1 < len(splits["held_out"]) / sum(map(len, splits.values())) < 0.3


def test_a_patient_is_in_the_same_split_in_every_source(
    inputs: Path, tokenizer: LoadedTokenizer, tmp_path: Path
) -> None:
    """A table and MIMIC notes whose columns name the same patients."""
    rows = [{"subject_id": str(90_000_000 + number), "text": f"Letter {number}"} for number in range(100)]
    (tmp_path / "letters.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    letters = {"name": "letters", "format": "table", "paths": [str(tmp_path / "letters.jsonl")], "licence": "own"}
    both = config(inputs, tokenizer, tmp_path / "data")
    sources = [both.sources[0].model_dump(), letters | {"split_by": "subject_id"}]
    splits: dict[str, set[bool]] = {}
    for source in config(inputs, tokenizer, tmp_path / "data", sources=sources).sources:
        for document in read(source):
            held_out = is_held_out(document, source.split_by, 0.3, 1)
            splits.setdefault(document.meta["subject_id"], set()).add(held_out)
    assert all(len(seen) == 1 for seen in splits.values())
    assert {True} in splits.values()


def test_the_manifest_describes_the_data_set(prepared: PrepareConfig, inputs: Path, tokenizer: LoadedTokenizer) -> None:
    manifest = read_manifest(str(prepared.output))
    assert manifest.seq_length == SEQ_LENGTH
    assert manifest.tokenizer.model_dump() == {
        "sha256": hashlib.sha256((tokenizer.directory / "tokenizer.json").read_bytes()).hexdigest(),
        "vocab_size": 1024,
        "special_ids": {"unk": 0, "cls": 1, "sep": 2, "pad": 3, "mask": 4},
        "unmaskable_ids": [0, 1, 2, 3, 4, *range(1000, 1024)],
    }
    own = manifest.sources["own"]
    content = (inputs / "own.jsonl").read_bytes()
    assert own.inputs == [FileInfo(name="own.jsonl", bytes=len(content), sha256=hashlib.sha256(content).hexdigest())]
    assert (own.duplicates, own.empty) == (2, 1)
    assert manifest.sources["notes"].synthetic is True
    for name, source in manifest.sources.items():
        for split, counts in source.splits.items():
            written = list(packs(prepared.output, name, split))
            tokens = sum(len(pack.tokens) for pack in written)
            assert counts.model_dump(by_alias=True) == {
                "documents": len({document for pack in written for document in pack.doc_ids}),
                "pieces": sum(len(pack.lengths) for pack in written),
                "tokens": tokens,
                "packs": len(written),
                "fullness": round(tokens / len(written) / SEQ_LENGTH, 6),
            }
    assert PrepareConfig.model_validate(manifest.config) == prepared
    assert hashes(prepared.output / "tokenizer") == hashes(tokenizer.directory)


def test_the_manifest_holds_no_text(prepared: PrepareConfig) -> None:
    manifest = (prepared.output / "manifest.json").read_text()
    assert "Seen in" not in manifest
    assert "9000000" not in manifest


def test_groups_of_files_give_the_same_bytes(
    inputs: Path, tokenizer: LoadedTokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two hundred files of one or two notes: one task for all of them, one for each, and several."""
    for number in range(200):
        notes = "".join(f'{patient},"Letter {number}\nof {patient}"\n' for patient in range(number % 2 + 1))
        (tmp_path / f"{number:03d}.csv").write_text(f"patient,text\n{notes}")
    source = {"name": "letters", "format": "table", "paths": [str(tmp_path / "*.csv")], "licence": "own"}
    written = []
    for bound, most in ((groups.GROUP_BYTES, 300), (1 << 22, 1), (1 << 15, 40)):
        monkeypatch.setattr(groups, "GROUP_BYTES", bound)
        output = tmp_path / f"data-{bound}"
        values = config(inputs, tokenizer, output, sources=[source | {"split_by": "patient"}])
        tasks = plan_tasks(values, tokenizer, tmp_path, in_processes(1), lambda: silent(""))
        assert most // 10 <= len(tasks) <= most
        manifest = prepare(values, silent)
        assert [file.name for file in manifest.sources["letters"].inputs] == [f"{n:03d}.csv" for n in range(200)]
        written.append(hashes(output) | {"manifest.json": manifest.sources["letters"].model_dump_json()})
    assert written[0] == written[1] == written[2]


def test_a_manifest_does_not_list_thousands_of_files(
    inputs: Path, tokenizer: LoadedTokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifests, "_MOST_INPUTS", 4)
    for number in range(5):
        (tmp_path / f"{number}, a.csv").write_text(f"patient,text\n{number},Letter {number}\n")
    own = {"name": "own", "format": "table", "paths": [str(tmp_path / "*.csv")], "licence": "own"}
    values = config(inputs, tokenizer, tmp_path / "data", held_out=0, sources=[own | {"split_by": "patient"}])
    source = prepare(values, silent).sources["own"]
    table = source.input_list
    assert table is not None
    assert source.inputs == []
    content = (values.output / "own" / table.name).read_bytes()
    assert table.sha256 == hashlib.sha256(content).hexdigest()
    rows = list(csv.DictReader(content.decode().splitlines()))
    assert [(row["name"], int(row["bytes"]), row["sha256"]) for row in rows] == [
        (path.name, path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in sorted(tmp_path.glob("*.csv"))
    ]
    assert (table.files, table.bytes) == (5, sum(int(row["bytes"]) for row in rows))
    assert f"| own | table | own | not public | 5 | {table.bytes} |" in (values.output / "README.md").read_text()
    assert read_manifest(str(values.output)).sources["own"] == source


@pytest.mark.slow
def test_two_processes_write_the_same_bytes(
    prepared: PrepareConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparing, "_DOCUMENTS_PER_WRITER", 10)
    again = prepared.model_copy(update={"output": tmp_path / "data", "workers": 2})
    prepare(again, silent)
    first, second = hashes(prepared.output), hashes(again.output)
    del first["manifest.json"], second["manifest.json"]  # it holds `output` and `workers`
    assert first == second
    assert os.listdir(tmp_path) == ["data"]


def test_a_text_in_two_sources_is_kept_in_the_first(inputs: Path, tokenizer: LoadedTokenizer, tmp_path: Path) -> None:
    base = config(inputs, tokenizer, tmp_path / "data", held_out=0)
    own = base.sources[1].model_dump()
    copy = tmp_path / "copy.jsonl"
    copy.write_text((inputs / "own.jsonl").read_text() + '{"patient": "x", "text": "Only here."}\n')
    sources = [own, own | {"name": "copy", "paths": [str(copy)]}]
    manifest = prepare(config(inputs, tokenizer, tmp_path / "data", held_out=0, sources=sources), silent)
    assert manifest.sources["copy"].splits["train"].documents == 1
    assert manifest.sources["copy"].duplicates == 202
    assert manifest.sources["copy"].splits["held_out"].packs == 0
    assert not (tmp_path / "data" / "own" / "held_out").exists()


def test_sample_selects_a_subset_of_the_share(inputs: Path, tokenizer: LoadedTokenizer, tmp_path: Path) -> None:
    own = config(inputs, tokenizer, tmp_path).sources[1]
    everything, some = ([document.id for document in read(own.model_copy(update={"sample": s}))] for s in (1.0, 0.3))
    assert set(some) < set(everything)
    assert 0.2 < len(some) / len(everything) < 0.4


def test_a_locale_is_audited_and_one_that_is_absent_changes_nothing(
    prepared: PrepareConfig, inputs: Path, tokenizer: LoadedTokenizer, tmp_path: Path
) -> None:
    assert "locale" not in json.dumps(prepared.model_dump(mode="json")), "a recipe of before stays equal"
    letters = tmp_path / "letters.jsonl"
    texts = [f"Anruf {number}: unter 030 1234{number:03}." for number in range(40)]
    letters.write_text("".join(json.dumps({"patient": str(n), "text": text}) + "\n" for n, text in enumerate(texts)))
    source = {"name": "letters", "format": "table", "paths": [str(letters)], "licence": "own", "split_by": "patient"}

    def audited(name: str, **keys: Any) -> int:
        prepare(config(inputs, tokenizer, tmp_path / name, sources=[source | keys]), silent)
        audit = read_manifest(str(tmp_path / name)).sources["letters"].audit
        assert audit
        return audit.flagged

    assert audited("plain") == 0
    assert audited("german", locale=["de_DE"]) == 40


def bad_inputs(folder: Path) -> dict[str, tuple[dict[str, Any], str]]:
    gz = folder / "discharge.csv.gz"
    gz.write_bytes(gzip.compress(("note_id,subject_id,text\n" + "1,1,word\n" * 5_000).encode())[:-100])
    xml = folder / "pubmed.xml"
    xml.write_text("<PubmedArticleSet><PubmedArticle><MedlineCitation><PMID>1</PMID></PubmedArticle>")
    csv = folder / "notes.csv"
    csv.write_text("note_id,subject_id,body\n1,1,x\n")
    source = {"name": "s", "licence": "own"}
    return {
        "a truncated gzip": (
            source | {"format": "mimic_notes", "paths": [str(gz)]},
            "discharge.csv.gz: truncated or corrupt",
        ),
        "malformed XML": (source | {"format": "pubmed", "paths": [str(xml)]}, "pubmed.xml: malformed XML at line 1"),
        "no text column": (source | {"format": "mimic_notes", "paths": [str(csv)]}, "notes.csv: no column text"),
        "no file": (source | {"format": "pubmed", "paths": [str(folder / "no.xml")]}, "no.xml: no such file"),
    }


@pytest.mark.parametrize(
    ("fault", "workers"),
    [("a truncated gzip", 1), ("a truncated gzip", 2), ("malformed XML", 1), ("no text column", 1), ("no file", 1)],
)
def test_bad_input_leaves_only_finished_results(
    fault: str, workers: int, inputs: Path, tokenizer: LoadedTokenizer, tmp_path: Path
) -> None:
    source, message = bad_inputs(tmp_path)[fault]
    good = config(inputs, tokenizer, tmp_path).sources[1].model_dump()
    output = tmp_path / "out" / "data"
    with pytest.raises(UserError) as error:
        prepare(config(inputs, tokenizer, output, sources=[good, source], workers=workers), silent)
    assert message in str(error.value)
    remaining = {path.suffix for path in output.parent.rglob("*") if path.is_file()}
    assert remaining <= {".segments", ".done"}
    prepare(config(inputs, tokenizer, output, sources=[good]), silent)
    assert os.listdir(output.parent) == ["data"]


def test_a_missing_tokenizer_leaves_no_files(inputs: Path, tokenizer: LoadedTokenizer, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"tokenizer\.json: no such file"):
        prepare(
            config(inputs, tokenizer, tmp_path / "data").model_copy(update={"tokenizer": tmp_path / "none"}), silent
        )
    assert os.listdir(tmp_path) == []


def test_an_existing_data_set_is_not_modified(prepared: PrepareConfig) -> None:
    before = hashes(prepared.output)
    with pytest.raises(UserError, match="exists already, and a data set is never overwritten; choose a new `output`"):
        prepare(prepared, silent)
    assert hashes(prepared.output) == before


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ('{"patient": "p", "text": " "}\n' * 2, {}, "the 2 in one.jsonl are without text"),
        ("\n", {}, "no records in one.jsonl; check its paths"),
        ('{"patient": "p", "text": "a"}\n', {"sample": 1e-9}, r"raise sample \(1e-09\), or check one.jsonl"),
        ('{"patient": "p", "text": "a"}\n', {"held_out": 0.999}, r"all are held out; lower held_out \(0.999\)"),
    ],
)
def test_a_source_without_training_documents_is_refused(
    content: str,
    options: dict[str, Any],
    message: str,
    inputs: Path,
    tokenizer: LoadedTokenizer,
    tmp_path: Path,
) -> None:
    (tmp_path / "one.jsonl").write_text(content)
    source = {
        "name": "one",
        "format": "table",
        "paths": [str(tmp_path / "one.jsonl")],
        "licence": "",
        "split_by": "patient",
        "sample": options.pop("sample", 1.0),
    }
    with pytest.raises(UserError, match=f"source one: no document left to train on(; |: ){message}"):
        prepare(config(inputs, tokenizer, tmp_path / "data", sources=[source], **options), silent)


def test_a_source_of_duplicates_is_refused(inputs: Path, tokenizer: LoadedTokenizer, tmp_path: Path) -> None:
    own = config(inputs, tokenizer, tmp_path / "data").sources[1].model_dump()
    sources = [own, own | {"name": "copy"}]
    with pytest.raises(UserError, match="source copy: all 202 documents duplicate those of an earlier source"):
        prepare(config(inputs, tokenizer, tmp_path / "data", sources=sources), silent)


def test_two_processes_cannot_prepare_the_same_output(inputs: Path, tokenizer: LoadedTokenizer, tmp_path: Path) -> None:
    values = config(inputs, tokenizer, tmp_path / "data")
    with (
        preparing._locked_building_directory(values.output),
        pytest.raises(UserError, match="another process is preparing this data set"),
    ):
        prepare(values, silent)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["tokenizing", "packing", "writing", "hashing"])
def test_a_killed_run_continues_and_gives_the_same_bytes(prepared: PrepareConfig, tmp_path: Path, stage: str) -> None:
    """SIGKILL after the first file or split, in the middle of a shard, or before the last index.

    The next run reuses the tokens and writes the same shards.
    """
    output = tmp_path / "data"
    recipe = tmp_path / "recipe.json"
    recipe.write_text(prepared.model_copy(update={"output": output}).model_dump_json())
    script = f"""
import sys, time
from pathlib import Path
from clinical_modernbert.streaming_data.prepare.pipeline import prepare
from clinical_modernbert.streaming_data.prepare.config import (PrepareConfig)
from clinical_modernbert.streaming_data.division import groups
from clinical_modernbert.streaming_data.prepare import write_split
groups.GROUP_BYTES = 0
def wait():
    print("done", flush=True)
    time.sleep(60)
def stop_in(name, calls):
    original, numbers = getattr(write_split, name), iter(range(calls))
    setattr(write_split, name, lambda *values: original(*values) if next(numbers, None) is not None else wait())
if {stage!r} == "writing":
    stop_in("encode_sample", 3)
if {stage!r} == "hashing":
    stop_in("write_index", 2)
def stages(stage):
    def report(done, total, counted):
        if done and stage == {stage!r} and stage in ("tokenizing", "packing"):
            wait()
    return report
prepare(PrepareConfig.model_validate_json(Path({str(recipe)!r}).read_text()), stages)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"done\n"
        os.kill(process.pid, signal.SIGKILL)
    done = list(tmp_path.rglob("*.done"))
    assert len(done) == (1 if stage == "tokenizing" else 3)
    assert bool(list(tmp_path.rglob("*.mds"))) == (stage != "tokenizing")
    assert len(list(tmp_path.rglob("index.json"))) == (2 if stage == "hashing" else 0)
    first = done[0]
    written = first.stat().st_mtime_ns
    assert not output.exists()

    seen: list[int] = []

    def stages(stage: str) -> Any:
        return lambda done, total, counted: seen.append(first.stat().st_mtime_ns)

    prepare(prepared.model_copy(update={"output": output}), stages)
    assert set(seen[:1]) == {written}
    first_run, second_run = hashes(prepared.output), hashes(output)
    del first_run["manifest.json"], second_run["manifest.json"]
    assert first_run == second_run
    assert sorted(os.listdir(tmp_path)) == ["data", "recipe.json"]


def test_results_of_another_config_are_not_reused(prepared: PrepareConfig, tmp_path: Path) -> None:
    """Results of a file are reused if only another source changed; a changed file is read again."""
    path = tmp_path / "own.jsonl"
    shutil.copy(prepared.sources[1].paths[0], path)
    own = prepared.sources[1].model_copy(update={"paths": [str(path)]})
    first = prepared.model_copy(update={"output": tmp_path / "data", "sources": [prepared.sources[0], own]})

    def stems(values: PrepareConfig) -> list[str]:
        tasks = plan_tasks(values, tokenizers.load(values.tokenizer), tmp_path, in_processes(1), lambda: silent(""))
        return [task.stem.name for task in tasks]

    before = stems(first)
    assert len(set(before)) == 3
    assert stems(first.model_copy(update={"output": tmp_path / "other", "workers": 3, "window": 8})) == before
    renamed = own.model_copy(update={"licence": "another", "split_by": "text"})
    assert [
        a == b
        for a, b in zip(stems(first.model_copy(update={"sources": [first.sources[0], renamed]})), before, strict=True)
    ] == [True, True, False]
    assert not set(before) & set(stems(first.model_copy(update={"seq_length": 256})))
    path.write_text(path.read_text() + '{"patient": "x", "text": "One more."}\n')
    assert [a == b for a, b in zip(stems(first), before, strict=True)] == [True, True, False]


def test_an_interrupt_keeps_results_and_publishes_nothing(
    prepared: PrepareConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(stage: str) -> Any:
        def report(done: int, total: int, counted: int) -> None:
            if done == 2:
                raise KeyboardInterrupt

        return report

    again = prepared.model_copy(update={"output": tmp_path / "data"})
    with pytest.raises(KeyboardInterrupt):
        prepare(again, interrupted)
    assert os.listdir(tmp_path) == ["data.building"]
    prepare(again, silent)
    assert os.listdir(tmp_path) == ["data"]
    shutil.rmtree(again.output)


def test_results_of_another_version_are_made_again(
    inputs: Path, tokenizer: LoadedTokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pickles of an earlier version in the working directory: their tasks run again, and no code runs."""
    output = tmp_path / "data"
    here = config(inputs, tokenizer, output)
    tasks = plan_tasks(here, tokenizer, tmp_path / "data.building", in_processes(1), lambda: silent("scanning"))
    for task in tasks:
        task.stem.parent.mkdir(parents=True, exist_ok=True)
        for suffix in (".done", ".segments"):
            task.stem.with_suffix(suffix).write_bytes(b"cos\nmkdir\n(V%s\ntR." % str(tmp_path / "ran").encode())
    prepare(here, silent)
    assert not (tmp_path / "ran").exists()
    prepare(config(inputs, tokenizer, tmp_path / "new"), silent)
    shards = [
        {path.relative_to(directory): path.read_bytes() for path in directory.rglob("*.mds")}
        for directory in (output, tmp_path / "new")
    ]
    assert shards[0] == shards[1]


def test_a_working_directory_that_others_can_write_is_refused(
    inputs: Path, tokenizer: LoadedTokenizer, tmp_path: Path
) -> None:
    building = tmp_path / "data.building"
    (building / "tokenized").mkdir(parents=True)
    for path in (building, building / "tokenized"):
        path.chmod(0o777)
        (path / "theirs.txt").touch(0o644)
        with pytest.raises(UserError, match=r"data\.building.*: other users can write there \(mode 0777\)"):
            prepare(config(inputs, tokenizer, tmp_path / "data"), silent)
        assert (path / "theirs.txt").is_file(), "nothing of theirs is removed"
        path.chmod(0o755)
