"""`cmbert evaluate --suite` takes what is there, and says of the rest where to get it and under which licence."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.launcher.cli import app
from clinical_modernbert.launcher.evaluation.tasks import load_suite, load_tasks

SUITE = """
name: mine
tasks: [pubmedqa, {task: biosses, name: pairs, directory: sts}, scifact]
elsewhere:
  - {name: HoC, needs: several labels, source: "https://example.org/hoc", licence: GPL}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mine.yaml").write_text(SUITE)
    (tmp_path / "data" / "sts").mkdir(parents=True)
    pairs = [{"sentence1": "a", "sentence2": "b", "score": score} for score in (1, 2)]
    (tmp_path / "data/sts/test.jsonl.gz").write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    return tmp_path


def test_what_is_missing_is_listed_with_its_source_and_licence(
    folder: Path, messages: pytest.LogCaptureFixture
) -> None:
    [pairs] = load_suite(str(folder / "mine.yaml"), folder / "data", ["protocol.epochs=1"])
    assert (pairs.name, pairs.data, pairs.protocol.epochs) == ("pairs", folder / "data" / "sts", 1)
    lines = [record.message for record in messages.records]
    assert lines[0] == f"mine: 1 of 4 sets are in {folder / 'data'}"
    for expected in (
        "here     pairs",
        f"missing  pubmedqa: no {folder / 'data'}/pubmedqa/ori_pqal.json",
        "         licence: MIT",
        "         scifact.zip has the MD5 5f7d1de60b170fc8027bb7898e2efca1",
        "not yet  HoC: needs several labels",
        "         https://example.org/hoc",
        "         licence: GPL",
    ):
        assert expected in lines


def test_a_suite_and_other_tasks_in_one_command(folder: Path) -> None:
    evaluations = load_tasks(["ncbi-disease"], [], str(folder / "mine.yaml"), folder / "data")
    assert [evaluation.name for evaluation in evaluations] == ["ncbi-disease", "pairs"]
    with pytest.raises(UserError, match=r"mine: 0 of 4 sets are in .*\nmissing  pubmedqa"):
        load_tasks([], [], str(folder / "mine.yaml"), folder)


def test_the_command_line(folder: Path) -> None:
    for arguments, message in (
        ([], "no task; name one with --task"),
        (["--suite", "blurb"], "--suite and --data belong together"),
        (["--task", "gad", "--data", "x"], "--suite and --data belong together"),
        (["--suite", "blurbs", "--data", "x"], "did you mean blurb?"),
        (["--suite", "gad", "--data", "x"], "gad is a task: run `cmbert evaluate MODEL --task gad`"),
        (["--task", "blurb"], "run `cmbert evaluate MODEL --suite"),
    ):
        result = CliRunner().invoke(app, ["evaluate", str(folder / "model"), *arguments])
        assert message in str(result.exception), arguments
