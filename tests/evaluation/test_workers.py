"""Several processes give the results of one; what goes wrong in one of them stops all."""

import json
import os
from functools import partial
from pathlib import Path

import pytest

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.evaluation import results
from clinical_modernbert.evaluation.models.model import EvaluatedModel
from clinical_modernbert.evaluation.models.protocol import Protocol
from clinical_modernbert.evaluation.suite import Evaluation
from clinical_modernbert.launcher.evaluation.inputs import open_numbered


@pytest.fixture
def evaluation(tmp_path: Path, quick: Protocol) -> Evaluation:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.tsv").write_text("text\tlabel\n" + "fever of the lung\tyes\nno pain\tno\n" * 8)
    task = {"kind": "classification", "train": "a.tsv", "test": "a.tsv"}
    return Evaluation.model_validate({"name": "toy", "data": tmp_path / "data", "task": task, "protocol": quick})


@pytest.mark.slow
def test_two_workers_give_the_files_of_one(
    ours: EvaluatedModel, our_directory: Path, evaluation: Evaluation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = list(results.evaluate([ours], [evaluation], 2, tmp_path / "one", keep=True))
    opens = partial(open_numbered, [str(our_directory)], ["ours"])
    two = results.evaluate([ours], [evaluation], 2, tmp_path / "two", keep=True, workers=2, open_model=opens)
    monkeypatch.setattr(results, "run", None)  # nothing is computed in this process
    assert list(two) == one
    assert content(tmp_path / "two") == content(tmp_path / "one")


def content(directory: Path) -> dict[str, object]:
    """All files but for the seconds that each seed took."""
    files: dict[str, object] = {}
    for path in directory.rglob("*"):
        if path.parent.name == "seeds" and path.suffix == ".json":
            files[path.name] = {**json.loads(path.read_text()), "seconds": None}
        elif path.is_file():
            files[str(path.relative_to(directory))] = path.read_bytes()
    return files


@pytest.mark.slow
def test_an_error_or_the_end_of_a_worker_stops_all(
    ours: EvaluatedModel, evaluation: Evaluation, tmp_path: Path
) -> None:
    missing = partial(open_numbered, [str(tmp_path / "nowhere")], ["ours"])
    with pytest.raises(UserError, match="nowhere"):
        list(results.evaluate([ours], [evaluation], 3, tmp_path / "out", workers=2, open_model=missing))
    with pytest.raises(UserError, match=r"one of 2 workers was killed, .* use fewer --workers"):
        list(results.evaluate([ours], [evaluation], 3, tmp_path / "out", workers=2, open_model=os._exit))
    assert not (tmp_path / "out/seeds").exists()
