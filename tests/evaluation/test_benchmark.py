"""Packaged tasks and suites are complete, and files that differ from the published ones are announced."""

import gzip
import subprocess
from pathlib import Path

import pytest

from clinical_modernbert.configs.loader.load import load
from clinical_modernbert.configs.loader.recipes import SUITE, TASK, find_recipe, recipe_names
from clinical_modernbert.evaluation.benchmark import Entry, Suite, find_task
from clinical_modernbert.evaluation.origin import Origin, check_published, git_id
from clinical_modernbert.evaluation.suite import Evaluation

LOCAL = {
    "bias", "bias-swap", "documents", "retrieval", "reranking", "similarity", "masked-words", "names", "needles",
    "codes", "codes-held-out",
}  # fmt: skip
"""Tasks without published files: of our templates, of the user's own files, of code lists that change every year."""


def evaluation_of(name: str) -> Evaluation:
    return load(Evaluation, find_recipe(name, kind=TASK))


def test_every_packaged_task_of_published_files_says_where_they_come_from() -> None:
    for name in recipe_names(TASK):
        evaluation = evaluation_of(name)
        assert evaluation.name == name
        assert (evaluation.origin is None) is (name in LOCAL), name
        if evaluation.origin and evaluation.origin.files:
            assert set(evaluation.task.files()) <= set(evaluation.origin.files), name
            assert len(set(evaluation.origin.files.values())) == len(evaluation.origin.files), name


def test_every_suite_has_tasks_that_differ() -> None:
    names = recipe_names(SUITE)
    assert {"blurb", "bioclinical-modernbert", "mteb-medical"} <= set(names)
    for name in names:
        suite = load(Suite, find_recipe(name, kind=SUITE))
        assert suite.name == name
        found = [find_task(evaluation_of(entry.task), entry, Path("anywhere")) for entry in suite.tasks]
        for parts in ([one.evaluation.name for one in found], [one.missing for one in found]):
            assert len(set(parts)) == len(found), name
        assert not {one.name for one in suite.elsewhere} & {one.evaluation.name for one in found}


def test_files_are_found_gzipped_too(tmp_path: Path) -> None:
    evaluation = evaluation_of("ncbi-disease")
    directory = tmp_path / evaluation.data.name
    directory.mkdir()
    (directory / "train.tsv.gz").touch()
    found = find_task(evaluation, Entry(task="ncbi-disease"), tmp_path)
    assert found.missing == directory / "test.tsv"
    (directory / "test.tsv").touch()
    found = find_task(evaluation, Entry(task="ncbi-disease", name="mine"), tmp_path)
    assert found.missing is None
    assert found.evaluation.task.files() == ["train.tsv.gz", "test.tsv"]
    assert (found.evaluation.name, found.evaluation.data) == ("mine", directory)


def test_a_file_that_differs_from_the_published_one_is_announced(
    tmp_path: Path, messages: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "test.tsv").write_text("pain\tB-X\n")
    (tmp_path / "train.tsv.gz").write_bytes(gzip.compress(b"pain\tB-X\n"))
    printed = subprocess.run(["git", "hash-object", tmp_path / "test.tsv"], capture_output=True, text=True, check=True)
    published = printed.stdout.strip()
    assert git_id(tmp_path / "train.tsv.gz") == git_id(tmp_path / "test.tsv") == published
    task = {"kind": "ner", "train": "train.tsv.gz", "test": "test.tsv"}
    origin = {"source": "", "licence": "", "files": {"test.tsv": published, "train.tsv": published}}
    evaluation = Evaluation.model_validate({"name": "x", "data": tmp_path, "task": task, "origin": origin})
    check_published(evaluation)
    assert messages.text == ""
    (tmp_path / "test.tsv").write_text("ache\tB-X\n")
    check_published(evaluation)
    assert f"{tmp_path / 'test.tsv'}: this file differs from the published one" in messages.text
    assert "train" not in messages.text
    check_published(evaluation.model_copy(update={"origin": Origin(source="", licence="")}))


@pytest.mark.parametrize(
    ("name", "directory"),
    [
        ("ncbi-disease", "NCBI-disease-IOB"),
        ("bc5cdr", "BC5CDR-IOB"),
        ("pubmedqa", "pubmedqa"),
        ("piboso", "eval_piboso"),
    ],
)
def test_published_checksums(name: str, directory: str, dev_data: Path, messages: pytest.LogCaptureFixture) -> None:
    if not (dev_data / "eval" / directory).is_dir():
        pytest.skip(f"no {directory} in {dev_data / 'eval'}")
    found = find_task(evaluation_of(name), Entry(task=name, directory=Path(directory)), dev_data / "eval")
    assert found.missing is None
    check_published(found.evaluation)
    assert messages.text == ""
