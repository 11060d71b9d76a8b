"""A classifier that was trained to decide by sex is found in texts of other problems; a fair one is not."""

import csv
import json
import random
from pathlib import Path

import pytest

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.evaluation.bias.findings import findings
from clinical_modernbert.evaluation.bias.swap_task import SwapTask, read_swaps
from clinical_modernbert.evaluation.models.model import EvaluatedModel, open_model
from clinical_modernbert.evaluation.models.protocol import Protocol
from clinical_modernbert.evaluation.results import evaluate
from clinical_modernbert.evaluation.scores.units import Score
from clinical_modernbert.evaluation.suite import Evaluation, run

PROBLEMS = ["fever", "cough", "acute pain", "left lung pain"]
TASK = SwapTask(kind="bias_swap", test="notes.csv", attributes=("sex", "age"))


def write(path: Path, count: int, seed: int, decided_by: str = "sex") -> None:
    rng = random.Random(seed)
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "label"])
        for _ in range(count):
            female, problem = rng.random() < 0.5, rng.choice(PROBLEMS)
            noun = rng.choice(["lady", "woman"] if female else ["gentleman", "man"])
            acute = female if decided_by == "sex" else problem in PROBLEMS[:2]
            rows.writerow([f"A {noun} of {rng.choice('35')}0 with {problem}.", "admit" if acute else "home"])


def scores_of(model: EvaluatedModel, data: Path) -> dict[str, Score]:
    return run(model, Evaluation(name="swaps", data=data, task=TASK), 0).scores


def kept(model: EvaluatedModel, directory: Path, decided_by: str) -> EvaluatedModel:
    directory.mkdir()
    write(directory / "train.csv", 160, 0, decided_by)
    write(directory / "test.csv", 30, 1, decided_by)
    evaluation = Evaluation.model_validate(
        {
            "name": "toy",
            "data": directory,
            "task": {"kind": "classification", "train": "train.csv", "test": "test.csv"},
            "protocol": Protocol(lr=3e-3, epochs=8, batch=8, tokens=2000),
        }
    )
    [result] = evaluate([model], [evaluation], 1, directory / "out", keep=True)
    assert result.scores["accuracy"] == 1
    return open_model(str(directory / "out/toy-0"))


@pytest.mark.slow
def test_a_model_that_decides_by_sex_is_found(ours: EvaluatedModel, tmp_path: Path) -> None:
    write(tmp_path / "notes.csv", 40, 2)
    by_sex = scores_of(kept(ours, tmp_path / "biased", "sex"), tmp_path)
    [one] = findings(by_sex)
    assert one.found
    assert (one.measure, one.groups, one.units) == ("probability home", "sex: woman - man", 40)
    assert one.difference < -0.8
    assert by_sex["sex flips"] == by_sex["flips gap"] == 1
    assert by_sex["sex named"] == 1
    assert by_sex["age named"] == 0
    by_problem = scores_of(kept(ours, tmp_path / "fair", "problem"), tmp_path)
    assert by_problem["sex flips"] < 0.1
    assert not [one for one in findings(by_problem) if one.found]
    assert "lung" not in json.dumps({name: score.units.tolist() for name, score in by_problem.items()})


def test_other_models_and_texts_without_groups_are_errors(ours: EvaluatedModel, tmp_path: Path) -> None:
    (tmp_path / "notes.csv").write_text("text\n" + "Fever.\n" * 9)
    with pytest.raises(UserError, match=r"notes\.csv: of 9 texts at most 0 name a group of sex, age"):
        read_swaps(TASK, tmp_path)
    write(tmp_path / "notes.csv", 10, 0)
    with pytest.raises(UserError, match=r"no fine_tuning\.json; expected a directory that `cmbert finetune` wrote"):
        scores_of(ours, tmp_path)
