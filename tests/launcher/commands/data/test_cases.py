"""`cmbert data prepare` on small files of public reports and publishers, which are development data."""

import shutil
from itertools import islice
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clinical_modernbert.launcher.cli import app
from clinical_modernbert.streaming_data.shards.manifest import read_manifest
from clinical_modernbert.streaming_data.synthetic.notes import generate
from clinical_modernbert.streaming_data.tokenizer import tokenizer as tokenizers

# By recipe: the documents of its data set, or a part of the error.
EXPECTED: dict[str, int | str] = {
    "02-mesh-mtrees/r": 7,
    "04-icd-zip/a": 3,
    "04-icd-zip/b": 3,
    "04-icd-zip/c": 4,
    "04-icd-zip/d": 4,
    "04-icd-zip/e": 3,
    "04-icd-zip/f": 3,
    "06-efetch-concatenated/r": 3,
    "07-pmid-spelling/comment": 2,
    "07-pmid-spelling/extra-attribute": 2,
    "07-pmid-spelling/medline-id-first": 1,
    "07-pmid-spelling/pretty": 1,
    "07-pmid-spelling/single-quotes": 1,
    "09-pmc-envelope/default-namespace": 1,
    "09-pmc-envelope/efetch": 2,
    "09-pmc-envelope/oai": 1,
    "18-noteevents/mimic": "no column note_id, subject_id, text; the file has ROW_ID, SUBJECT_ID",
    "18-noteevents/table": 3,
    "25-wrong-list/a": "by its name it is a list of ICD-9-CM diagnoses",
    "25-wrong-list/b": "its code has the form of ICD-10-CM",
    "25-wrong-list/c": "its code has the form of ICD-10-CM",
    "26-hcpcs-2025/r": 4,
    "27-pubmed-labels/r": 2,
}


@pytest.mark.slow
def test_every_case_is_prepared_or_refused_by_name(
    dev_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not (dev_data / "cases").is_dir():
        pytest.skip(f"no cases in {dev_data}: they are not in every copy of the development data")
    tokenizers.train((row["text"] for row in islice(generate(0), 100)), 600, tmp_path / "tokenizer")
    wrong = []
    for name, expected in EXPECTED.items():
        folder, recipe = name.split("/")
        if not (tmp_path / folder).exists():
            shutil.copytree(dev_data / "cases" / folder, tmp_path / folder, copy_function=shutil.copyfile)
        (tmp_path / folder).chmod(0o755)
        monkeypatch.chdir(tmp_path / folder)
        settings = ["output=data", "tokenizer=../tokenizer", "workers=1"]
        shutil.rmtree("data", ignore_errors=True)
        arguments = [part for setting in settings for part in ("--set", setting)]
        result = CliRunner().invoke(app, ["data", "prepare", f"{recipe}.yaml", *arguments])
        if isinstance(expected, str):
            found = str(result.exception) if result.exception else result.output
            if expected not in found or Path("data").exists():
                wrong.append(f"{name}: {found[-400:]}")
        elif result.exit_code or result.exception:
            wrong.append(f"{name}: {result.exception!r} {result.output[-300:]}")
        else:
            sources = read_manifest("data").sources
            documents = sum(split.documents for one in sources.values() for split in one.splits.values())
            if documents != expected:
                wrong.append(f"{name}: {documents} documents, expected {expected}")
    assert not wrong, "\n".join(wrong)
