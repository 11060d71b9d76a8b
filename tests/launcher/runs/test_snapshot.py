"""Copies of the code and the recipe, from which a launched run is started."""

import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.configs.loader.load import load
from clinical_modernbert.configs.loader.recipes import find_recipe
from clinical_modernbert.launcher.cli import app
from clinical_modernbert.launcher.runs.snapshot import (
    PACKAGE,
    code_directory,
    entry_point,
    new_launch_directory,
    recipe_path,
    snapshot,
    take_snapshot,
)
from clinical_modernbert.training.recipe.config import RunConfig


def test_a_snapshot_contains_everything_that_a_rank_needs(tmp_path: Path) -> None:
    config = load(RunConfig, find_recipe("tiny"))
    launch = new_launch_directory(tmp_path / "run")
    take_snapshot(launch, config)
    copied = code_directory(launch) / "clinical_modernbert"
    subpackages = [path.parent for path in PACKAGE.glob("*/__init__.py")]
    files = {path.relative_to(PACKAGE) for subpackage in subpackages for path in subpackage.rglob("*.*")}
    expected = {path for path in files if "__pycache__" not in path.parts and (PACKAGE / path).is_file()}
    assert expected == {path.relative_to(copied) for path in copied.rglob("*.*") if path.parent != copied}
    assert entry_point(launch).read_bytes() == (PACKAGE / "launcher" / "train.py").read_bytes()
    assert load(RunConfig, recipe_path(launch)) == config
    with pytest.raises(UserError, match="cannot be written"):
        take_snapshot(launch, config)


def test_launches_in_the_same_second_have_directories_of_their_own_in_order(tmp_path: Path) -> None:
    names = [new_launch_directory(tmp_path).name for _ in range(200)]
    assert len(set(names)) == len(names)
    assert names == sorted(names)
    assert new_launch_directory(tmp_path).name > "20260101-000000", "those of earlier versions come first"


def test_a_refused_submission_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sbatch = tmp_path / "sbatch"
    sbatch.write_text("#!/bin/sh\necho invalid partition >&2; exit 1\n")
    sbatch.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (tmp_path / "cluster.yaml").write_text("ranks_per_node: 1\n")
    submit = ["launch", "slurm", "tiny", "--cluster", str(tmp_path / "cluster.yaml"), "--set"]
    result = CliRunner().invoke(app, [*submit, f"run_dir={tmp_path}/new"])
    assert "invalid partition" in str(result.exception)
    assert not (tmp_path / "new").exists()
    (tmp_path / "old/launches/20260101-000000").mkdir(parents=True)
    (tmp_path / "old/stop.json").touch()
    before = sorted(tmp_path.rglob("*"))
    CliRunner().invoke(app, [*submit, f"run_dir={tmp_path}/old"])
    assert sorted(tmp_path.rglob("*")) == before


def test_a_launch_directory_of_another_is_not_removed(tmp_path: Path) -> None:
    config, launch = load(RunConfig, find_recipe("tiny")), new_launch_directory(tmp_path)
    take_snapshot(launch, config)
    with pytest.raises(UserError, match="File exists"), snapshot(launch, config):
        pass
    assert recipe_path(launch).is_file()
