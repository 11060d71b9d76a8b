"""`cmbert evaluate`, from the checkpoint of a real run to the table."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from small_run import SmallRun

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.launcher import cli
from clinical_modernbert.launcher.evaluation import evaluate
from clinical_modernbert.launcher.evaluation.inputs import short_names


def test_a_run_and_one_of_its_earlier_checkpoints(
    new_run: Callable[[], SmallRun],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    run = new_run()
    run.train()
    first = sorted((run.run_dir / "checkpoints").glob("step*"))[0]
    arguments = ["evaluate", str(run.run_dir), str(first), "--task", "masked-words", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["cmbert", *arguments, "--set", f"data={run.data}", "--seeds", "2"])
    with pytest.raises(SystemExit) as exit_info:
        cli.main()
    out = capsys.readouterr().out
    assert not exit_info.value.code
    assert "notes word" in out
    scores = json.loads((tmp_path / "results.json").read_text())["masked-words"]
    assert list(scores) == ["run", first.name]
    assert scores["run"]["notes loss"]["mean"] < scores[first.name]["notes loss"]["mean"]
    assert len(scores["run"]["notes loss"]["values"]) == 1
    page = (tmp_path / "results.html").read_text()
    assert f"{scores['run']['notes loss']['mean']:.4f}" in page
    assert f"page     {tmp_path / 'results.html'}" in out
    assert "masked-words" in (tmp_path / "results.tex").read_text()


def test_a_broken_library_is_found_before_a_model_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "a.tsv").write_text("pain\tB-Disease\n")
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "tokenizer.json").touch()
    opened: list[str] = []
    monkeypatch.setattr(evaluate, "open_any", lambda address, name: opened.append(name))
    monkeypatch.setitem(sys.modules, "seqeval.metrics", None)
    arguments = ["evaluate", str(tmp_path), "--task", "ncbi-disease", "--set", f"data={tmp_path}"]
    files = ["--set", "task.train=a.tsv", "--set", "task.test=a.tsv", "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", ["cmbert", *arguments, *files])
    with pytest.raises(SystemExit) as exit_info:
        cli.main()
    assert exit_info.value.code == 2
    assert "seqeval.metrics cannot be imported" in capsys.readouterr().err
    assert opened == []
    assert not (tmp_path / "out").exists()


def test_short_names_are_unique() -> None:
    assert short_names(["runs/mine", "org/bert"]) == ["mine", "bert"]
    assert short_names(["a/model", "b/model", "c"]) == ["a/model", "b/model", "c"]
    with pytest.raises(UserError, match="named twice"):
        short_names(["a", "a"])
