"""Finished results are reused, and an interrupted evaluation gives the same results as an uninterrupted one."""

import io
import json
import subprocess
import sys
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.configs.loader.load import load
from clinical_modernbert.configs.loader.recipes import PACKAGED
from clinical_modernbert.evaluation import results, suite
from clinical_modernbert.evaluation.fine_tuning import state
from clinical_modernbert.evaluation.models.model import EvaluatedModel
from clinical_modernbert.evaluation.models.protocol import Protocol
from clinical_modernbert.evaluation.scores.units import Score
from clinical_modernbert.evaluation.suite import Evaluation, fine_tunes

KILLED = Path(__file__).resolve().parents[1] / "support" / "killed_fine_tuning.py"


@pytest.fixture
def evaluation(tmp_path: Path, quick: Protocol) -> Evaluation:
    lines = [f"{text}\t{label}\n" for text, label in [("fever", "a"), ("heart pain", "b")] * 8]
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.tsv").write_text("text\tlabel\n" + "".join(lines))
    task = {"kind": "classification", "train": "a.tsv", "test": "a.tsv"}
    settings = {"name": "toy", "data": tmp_path / "data", "task": task, "protocol": quick.model_dump()}
    return Evaluation.model_validate(settings)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """(model, seed) of every evaluation that was run."""
    calls: list[tuple[str, int]] = []
    run = results.run

    def counted(model: EvaluatedModel, evaluation: Evaluation, seed: int, states: Path) -> Any:
        calls.append((model.name, seed))
        return run(model, evaluation, seed, states)

    monkeypatch.setattr(results, "run", counted)
    return calls


def summary(models: list[EvaluatedModel], evaluation: Evaluation, out: Path, seeds: int = 2) -> bytes:
    results.write_summary(results.evaluate(models, [evaluation], seeds, out), out)
    return (out / "results.json").read_bytes()


def test_an_interrupted_evaluation_gives_the_same_results(
    ours: EvaluatedModel,
    bert: EvaluatedModel,
    evaluation: Evaluation,
    runs: list,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    complete = summary([ours, bert], evaluation, tmp_path / "complete")
    runs.clear()
    interrupted = results.evaluate([ours, bert], [evaluation], 2, tmp_path / "cut")
    for _ in range(3):
        next(interrupted)
    assert isinstance(interrupted, Generator)
    interrupted.close()
    assert summary([ours, bert], evaluation, tmp_path / "cut") == complete
    assert runs == [("ours", 0), ("ours", 1), ("bert", 0), ("bert", 1)]
    assert summary([ours, bert], evaluation, tmp_path / "cut") == complete
    assert len(runs) == 4
    assert list((tmp_path / "cut/seeds").glob(".*")) == []


def test_changed_files_and_protocols_are_run_again(
    ours: EvaluatedModel, bert: EvaluatedModel, evaluation: Evaluation, runs: list, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    summary([ours], evaluation, out, seeds=1)
    more_at_once = evaluation.protocol.model_copy(update={"tokens": 100})
    summary([ours], evaluation.model_copy(update={"protocol": more_at_once}), out, seeds=1)
    assert len(runs) == 1
    summary([ours], evaluation.model_copy(update={"protocol": Protocol(epochs=1)}), out, seeds=1)
    assert len(runs) == 2
    with (evaluation.data / "a.tsv").open("a") as file:
        file.write("cough\ta\n")
    summary([ours], evaluation, out, seeds=1)
    assert len(runs) == 3


def result(task: str, model: str, seed: int, units: list[float]) -> results.Result:
    return results.Result(task, model, seed, {"f1": Score("mean", units)})


def test_means_and_deviations(tmp_path: Path) -> None:
    rows = [result("t", "m", seed, [value]) for seed, value in enumerate([0.5, 0.7, 0.9])]
    rows.append(result("t", "other", 0, [1.0]))
    summary = results.write_summary(rows, tmp_path)
    assert summary["t"]["m"]["f1"] == {
        "mean": pytest.approx(0.7), "deviation": pytest.approx(0.2), "values": [0.5, 0.7, 0.9],
    }  # fmt: skip
    assert json.loads((tmp_path / "results.json").read_text()) == summary
    later = [result("another", "m", 0, [0.0])]
    assert list(results.write_summary(later, tmp_path)) == ["another"]
    assert set(json.loads((tmp_path / "results.json").read_text())) == {"t", "another"}
    console = Console(width=80, record=True)
    console.print(results.table("t", summary["t"]))
    assert "0.7000 ± 0.2000" in console.export_text()


def test_a_score_that_one_model_lacks_is_a_dash() -> None:
    value = {"mean": 0.5, "deviation": None, "values": [0.5]}
    console = Console(width=80, record=True)
    console.print(results.table("t", {"old": {"f1": value}, "new": {"f1": value, "cut": value}}))
    [line] = [line for line in console.export_text().splitlines() if "cut" in line]
    assert "-" in line
    assert "0.5000" in line


def test_names_in_brackets_are_not_markup() -> None:
    rows = {"Süd [bold]": {"f1": {"mean": 0.5, "deviation": None, "values": [0.5]}}}
    console = Console(width=80, record=True)
    console.print(results.table("t [red]", rows))
    text = console.export_text()
    assert "Süd [bold]" in text
    assert "t [red]" in text


DAMAGED = ["{", "null", "[]", "[" * 200_000, '"text"', '{"scores": 1}', '{"scores": {"f1": "high"}}']


def test_a_corrupt_result_is_an_error(ours: EvaluatedModel, evaluation: Evaluation, tmp_path: Path) -> None:
    summary([ours], evaluation, tmp_path / "out", seeds=1)
    [path] = (tmp_path / "out/seeds").glob("*.json")
    functions = path.read_text()
    for content in [*DAMAGED, '{"scores": {"f1": 0.5}}', functions.replace('"mean"', '"median"')]:
        path.write_text(content)
        with pytest.raises(UserError, match=rf"{path.name}: .*: remove the file to run this seed again"):
            summary([ours], evaluation, tmp_path / "out", seeds=1)


def test_corrupt_units_are_an_error(ours: EvaluatedModel, evaluation: Evaluation, tmp_path: Path) -> None:
    summary([ours], evaluation, tmp_path / "out", seeds=1)
    [path] = (tmp_path / "out/seeds").glob("*.npz")
    complete = path.read_bytes()
    others = io.BytesIO()
    np.savez(others, np.array([{"an": "object"}], dtype=object), np.zeros(3), np.zeros((2, 2, 2)))
    for content in (b"", b"PK", complete[:100], complete[:-30], others.getvalue()):
        path.write_bytes(content)
        with pytest.raises(UserError, match=rf"{path.name}: .*: remove the file to run this seed again"):
            summary([ours], evaluation, tmp_path / "out", seeds=1)
    path.unlink()
    again = summary([ours], evaluation, tmp_path / "out", seeds=1)
    assert json.loads(again)["toy"]["ours"]["accuracy"]["values"]
    assert path.is_file()


def test_a_corrupt_summary_is_an_error_before_anything_is_run(
    ours: EvaluatedModel, evaluation: Evaluation, runs: list, tmp_path: Path
) -> None:
    for content in DAMAGED:
        (tmp_path / "results.json").write_text(content)
        with pytest.raises(UserError, match=r"results\.json: .*: restore or remove the file"):
            summary([ours], evaluation, tmp_path, seeds=1)
        assert (tmp_path / "results.json").read_text() == content
    assert runs == []


def test_an_unwritable_directory_is_an_error_before_anything_is_run(
    ours: EvaluatedModel, evaluation: Evaluation, runs: list, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match=r"results\.json: cannot be written"):
        summary([ours], evaluation, tmp_path / "file", seeds=1)
    assert runs == []


@pytest.mark.parametrize("recipe", sorted((PACKAGED / "evaluation").glob("*.yaml")), ids=lambda path: path.stem)
def test_packaged_tasks_load_and_report_missing_files(recipe: Path, tmp_path: Path) -> None:
    evaluation = load(Evaluation, recipe, [f"data={tmp_path}"])
    assert evaluation.name == recipe.stem
    trained = ("ner", "classification", "relations", "icd_chapters", "reranking")
    assert fine_tunes(evaluation) == (evaluation.task.kind in trained)
    if all(Path(name).is_absolute() for name in evaluation.task.files()):  # its texts are packaged
        return
    with pytest.raises(UserError, match=r"no such file; .* needs it: set its directory with --set data=DIRECTORY"):
        list(results.evaluate([], [evaluation], 1, tmp_path))


def test_a_score_that_is_no_number_is_an_error(
    ours: EvaluatedModel, evaluation: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = suite.kind_of(evaluation.task)
    monkeypatch.setitem(suite._KINDS, type(evaluation.task), replace(kind, score=lambda *_: {"f1": float("nan")}))
    with pytest.raises(UserError, match="ours: f1 of toy is not a finite number"):
        summary([ours], evaluation, tmp_path / "out", seeds=1)
    assert not list((tmp_path / "out").rglob("*.json"))


@pytest.mark.slow
def test_kills_at_any_moment_change_no_byte(
    ours: EvaluatedModel, our_directory: Path, evaluation: Evaluation, tmp_path: Path
) -> None:
    settings = {"choose": "best", "lr": (3e-3, 1e-3), "development_share": 0.25}
    evaluation = evaluation.model_copy(update={"protocol": evaluation.protocol.model_copy(update=settings)})
    reference, killed = tmp_path / "reference", tmp_path / "killed"
    list(results.evaluate([ours], [evaluation], 1, reference, keep=True))
    command = [sys.executable, str(KILLED), str(our_directory), evaluation.model_dump_json(), str(killed), "0.3"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert int(done.stdout) >= 3
    assert not list(killed.rglob("*.partial"))
    assert not (killed / "state").exists()
    [seed], [expected] = (list((out / "seeds").glob("*.json")) for out in (killed, reference))
    assert seed.name == expected.name
    assert facts(seed) == facts(expected)
    files = [path.relative_to(reference) for path in (reference / "toy-0").iterdir()]
    for file in [*files, Path(f"seeds/{seed.stem}.npz")]:
        assert (killed / file).read_bytes() == (reference / file).read_bytes(), file


def facts(path: Path) -> dict[str, Any]:
    """The content of a seed's file, but for what differs between two computations and two names of one model."""
    content: dict[str, Any] = json.loads(path.read_text())
    return {key: value for key, value in content.items() if key != "seconds"}


def test_a_state_of_other_settings_is_not_used(
    ours: EvaluatedModel, evaluation: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "SECONDS", 0.0)
    other = evaluation.model_copy(update={"protocol": evaluation.protocol.model_copy(update={"lr": 1e-4})})
    expected = summary([ours], other, tmp_path / "expected", seeds=1)
    monkeypatch.setattr(state.TrainingState, "use_best", lambda self: 1 / 0)
    stopped = evaluation.protocol.model_copy(update={"choose": "best", "development_share": 0.5})
    with pytest.raises(ZeroDivisionError):
        summary([ours], evaluation.model_copy(update={"protocol": stopped}), tmp_path / "out", seeds=1)
    [left] = (tmp_path / "out/state").rglob("*.safetensors")
    assert summary([ours], other, tmp_path / "out", seeds=1) == expected
    assert left.is_file()
    with state.state_directory(left.parent), pytest.raises(UserError, match="another command trains this seed"):
        summary([ours], evaluation.model_copy(update={"protocol": stopped}), tmp_path / "out", seeds=1)


def test_the_seed_says_what_chose(ours: EvaluatedModel, evaluation: Evaluation, tmp_path: Path) -> None:
    protocol = evaluation.protocol.model_copy(update={"choose": "best", "development_share": 0.25, "epochs": 2})
    chosen = evaluation.model_copy(update={"protocol": protocol})
    list(results.evaluate([ours], [chosen], 1, tmp_path / "out", keep=True))
    [path] = (tmp_path / "out/seeds").glob("*.json")
    choice = facts(path)["choice"]
    assert choice["chosen_by"] in (tmp_path / "out/toy-0/README.md").read_text()
    assert "4 examples for development chose, by accuracy" in choice["chosen_by"]
    assert len(choice["chosen"]["development"]) == 2
