"""`~` is the home directory, in recipes and in options that no shell expands."""

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import BaseModel

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.configs.home import expand_argument, expand_home
from clinical_modernbert.configs.loader.load import load


class Recipe(BaseModel):
    output: Path
    paths: list[str] = []
    nested: dict[str, str] = {}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.mark.parametrize(
    "text", ["", "~", "~x", "a~/b", "x/~/y", "~$notes.docx", "~no-such-user/x", "s3://b/~/x", "5 ~ 6"]
)
def test_other_text_stays(home: Path, text: str) -> None:
    assert expand_home(text) == text
    assert expand_argument(text) == text


def test_arguments(home: Path) -> None:
    assert expand_argument("~/x") == f"{home}/x"
    assert expand_argument("--out=~/x") == f"--out={home}/x"
    assert expand_argument("--no-thing") == "--no-thing"


def test_every_path_of_a_recipe(home: Path, tmp_path: Path) -> None:
    home.mkdir()
    (home / "base.yaml").write_text("nested: {a: ~/a, b: '~/b'}")
    path = tmp_path / "recipe.yaml"
    path.write_text("extends: ~/base.yaml\noutput: ~/x\npaths: [~/a/*.csv, ./~/b]\n")
    recipe = load(Recipe, path, ["nested.c=~/c"])
    assert recipe.output == home / "x"
    assert recipe.paths == [f"{home}/a/*.csv", "./~/b"]
    assert recipe.nested == {"a": f"{home}/a", "b": f"{home}/b", "c": f"{home}/c"}


def test_without_a_home_the_line_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.path.expanduser", lambda text: text)
    path = tmp_path / "recipe.yaml"
    path.write_text("paths: []\noutput: ~/x\n")
    with pytest.raises(UserError, match=r"recipe\.yaml:2: output: '~/x': no home directory is known here; set HOME"):
        load(Recipe, path)


@pytest.mark.slow
def test_commands_make_no_directory_called_tilde(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    command = [sys.executable, "-m", "clinical_modernbert.launcher", "data", "synthesize", "--out=~/notes"]
    import os

    subprocess.run(command, cwd=tmp_path, env={**os.environ, "HOME": str(tmp_path / "home")}, check=True)
    assert (tmp_path / "home" / "notes").is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["home"]
