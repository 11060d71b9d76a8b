"""Copies of the code and the recipe, from which a launched run is started."""

from pathlib import Path

import pytest

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.configs.loader.load import load
from clinical_modernbert.configs.loader.recipes import find_recipe
from clinical_modernbert.launcher.runs.snapshot import (
    PACKAGE,
    code_directory,
    entry_point,
    new_launch_directory,
    recipe_path,
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
