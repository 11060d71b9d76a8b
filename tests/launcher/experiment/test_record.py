"""A comparison continues only with what it began with, and in one process at a time."""

from pathlib import Path

import pytest
from compared_recipes import recipe

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.evaluation.suite import Evaluation
from clinical_modernbert.launcher.experiment.arms import make_arms
from clinical_modernbert.launcher.experiment.record import RECORD, Record, alone, begin, make_record


def record(data: Path, start: Path | None = None, lr: float = 2e-3, claims: tuple[str, ...] = ("t f1",)) -> Record:
    arms = make_arms(["old", "new"], [recipe(data={"path": str(data)}) for _ in range(2)], "tokens", None, 1)
    if start:
        config = arms[1].config.model_copy(update={"model": None, "initial_weights": start})
        arms[1] = arms[1]._replace(config=config)
    optimizer = arms[1].config.optimizer.model_copy(update={"lr": lr})
    arms[1] = arms[1]._replace(config=arms[1].config.model_copy(update={"optimizer": optimizer}))
    task = {"kind": "similarity", "test": "test.tsv"}
    evaluation = Evaluation.model_validate({"name": "t", "data": str(data), "task": task})
    return make_record(arms, [evaluation], "tokens", 1, claims)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    directory = tmp_path / "data"
    directory.mkdir()
    (directory / "manifest.json").write_text("{}")
    (directory / "test.tsv").write_text("a\tb\t1\n")
    return directory


def test_a_change_of_anything_is_refused_and_named(data: Path, tmp_path: Path) -> None:
    start, out = tmp_path / "model", tmp_path / "out"
    start.mkdir()
    (start / "model.safetensors").write_text("weights")
    begin(out, record(data, start), 3)
    before = (out / RECORD).read_bytes()
    assert begin(out, record(data, start), 3).seeds == [3]
    with pytest.raises(UserError, match=r"arms.new.optimizer.lr \(0.002 before, 0.001 now\)"):
        begin(out, record(data, start, lr=1e-3), 3)
    with pytest.raises(UserError, match="claims"):
        begin(out, record(data, start, claims=("t recall",)), 3)
    for file, key in (("test.tsv", "tasks.t"), ("manifest.json", "data"), ("../model/model.safetensors", "starts.new")):
        content = (data / file).read_text()
        (data / file).write_text("changed")
        with pytest.raises(UserError, match=key):
            begin(out, record(data, start), 3)
        (data / file).write_text(content)
    assert (out / RECORD).read_bytes() == before
    assert begin(out, record(data, start), 5).seeds == [3, 5]


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with alone(tmp_path), pytest.raises(UserError, match="already running"), alone(tmp_path):
        raise AssertionError("two at once")
    with alone(tmp_path):
        pass
