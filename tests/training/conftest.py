"""Fixtures of small training runs."""

from collections.abc import Callable
from pathlib import Path

import pytest
from small_data import write_small_data
from small_run import RECIPE, SmallRun


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def new_run(tmp_path_factory: pytest.TempPathFactory, small_data: Path) -> Callable[[], SmallRun]:
    def make() -> SmallRun:
        home = tmp_path_factory.mktemp("run")
        recipe = home / "recipe.yaml"
        recipe.write_text(RECIPE)
        return SmallRun(recipe, small_data, home / "run")

    return make


@pytest.fixture(scope="session")
def finished(new_run: Callable[[], SmallRun]) -> SmallRun:
    """Twelve steps on two ranks, undisturbed; not to be changed."""
    run = new_run()
    run.train(ranks=2)
    return run
