"""Recipes are found by path, else by name inside the package."""

from pathlib import Path

import pytest

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.configs.loader import recipes
from clinical_modernbert.configs.loader.recipes import find_recipe


@pytest.fixture
def packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "package"
    (directory / "paper").mkdir(parents=True)
    for name in ("tiny.yaml", "base.yaml", "paper/phase1.yaml"):
        (directory / name).write_text("{}")
    monkeypatch.setattr(recipes, "PACKAGED", directory)
    return directory


def test_a_path_takes_precedence_over_a_packaged_recipe(
    packaged: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.yaml").write_text("{}")
    assert find_recipe("tiny.yaml").resolve() == tmp_path / "tiny.yaml"
    assert find_recipe("tiny") == packaged / "tiny.yaml"


@pytest.mark.parametrize("name", ["tiny", "tiny.yaml", "base", "paper/phase1"])
def test_a_name_finds_a_packaged_recipe(packaged: Path, name: str) -> None:
    assert find_recipe(name) == packaged / f"{name.removesuffix('.yaml')}.yaml"


def test_an_unknown_name_lists_the_recipes_and_the_closest_match(packaged: Path) -> None:
    with pytest.raises(UserError, match=r"^tyni: no such file, and no recipe .* did you mean tiny\?") as error:
        find_recipe("tyni")
    assert str(error.value).endswith("(recipes: base, paper/phase1, tiny)")


def test_every_packaged_recipe_is_found() -> None:
    for name in recipes.recipe_names():
        assert find_recipe(name).is_file()
