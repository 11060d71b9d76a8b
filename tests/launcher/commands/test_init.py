"""`cmbert init`: its recipes load, prepare and plan; it asks on a terminal only, and overwrites nothing."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from initial_model import write_initial_model
from terminal import Terminal

from clinical_modernbert.configs.loader.load import load
from clinical_modernbert.launcher.starter.columns import Columns
from clinical_modernbert.launcher.starter.recipes import Start, data_recipe, training_recipe
from clinical_modernbert.streaming_data.prepare.config import PrepareConfig
from clinical_modernbert.streaming_data.synthetic.notes import write as write_notes
from clinical_modernbert.training.recipe.config import RunConfig
from clinical_modernbert.training.recipe.schedule import make_plan

CMBERT = [sys.executable, "-m", "clinical_modernbert.launcher"]


def cmbert(*arguments: str, code: int = 0) -> str:
    ended = subprocess.run([*CMBERT, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
    assert ended.returncode == code, ended.stderr
    return ended.stdout + ended.stderr


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with notes and a small model."""
    monkeypatch.chdir(tmp_path)
    write_notes(Path("notes"), 120, 0)
    write_initial_model(Path("models/small"))
    return tmp_path


@pytest.mark.slow
def test_the_recipes_are_prepared_and_planned(home: Path) -> None:
    shown = cmbert("init", "start", "--notes", "notes/discharge.csv", "notes/radiology.csv", "--model", "models/small")
    assert "columns: text text, patient subject_id, id note_id" in shown
    *_, prepare, plan, train = re.findall(r"cmbert (.*)", shown)
    assert (prepare, plan) == ("data prepare start/data.yaml", "train start/train.yaml --plan")
    assert train == "train start/train.yaml"
    assert "data set: start/packs" in cmbert(*prepare.split())
    assert "notes" in cmbert(*plan.split())
    tokens = load(RunConfig, Path("start/train.yaml")).schedule.total_tokens
    prepared = sum(map(int, re.findall(r"\"tokens\": (\d+)", Path("start/packs/manifest.json").read_text())))
    assert 0.3 < tokens / (3 * prepared) < 3, "the estimate is far from the number of tokens"


def test_nothing_is_overwritten_and_no_text_is_shown(home: Path) -> None:
    options = ["--notes", "notes/*.csv", "--model", "models/small", "--output", "out"]
    shown = cmbert("init", *options)
    assert "SYNTHETIC" not in shown + Path("data.yaml").read_text()
    before = Path("data.yaml").read_bytes()
    Path("train.yaml").unlink()
    assert "data.yaml: exists already; choose another directory" in cmbert("init", *options, code=2)
    assert Path("data.yaml").read_bytes() == before
    assert not Path("train.yaml").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "missing --notes FILE... and --model DIR"),
        (["--notes", "notes/*.csv", "--model", "notes"], "notes: no config.json and no tokenizer.json"),
        (["--notes", "nothing/*.csv", "--model", "models/small"], "nothing/*.csv: no such file"),
        (["--notes", "models/small/config.json", "--model", "models/small"], "config.json: not a table"),
        (["--notes", "notes/*.csv", "--model", "models/small", "--text", "txt"], "no column txt"),
    ],
)
def test_errors_write_nothing(options: list[str], message: str, home: Path) -> None:
    assert message in cmbert("init", "start", *options, code=2)
    assert not list(home.glob("**/*.yaml"))


def test_another_model_is_refused_without_torch(home: Path) -> None:
    Path("models/small/config.json").write_text('{"model_type": "bert"}')
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from clinical_modernbert.launcher.cli import main; sys.argv[0] = 'cmbert'; main()"
    )
    command = [sys.executable, "-c", code, "init", "--notes", "notes/*.csv", "--model", "models/small"]
    ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert (ended.returncode, "a model of the type bert; expected modernbert" in ended.stderr) == (2, True)


def ends_with(question: str) -> Callable[[list[str]], bool]:
    return lambda lines: bool(lines) and question in lines[-1]


def test_a_person_is_asked_for_paths_only(home: Path) -> None:
    with Terminal([*CMBERT, "init", "start"], columns=100) as terminal:
        for question, answer in (
            ("Your notes", "notes/*.csv"),
            ("Directory of the model", "models/small"),
            ("Directory for the data set", ""),
        ):
            terminal.wait_for(ends_with(question))
            terminal.send(f"{answer}\n")
        assert terminal.finish() == 0
    config = load(PrepareConfig, Path("start/data.yaml"))
    assert config.output == Path("start/packs")
    assert config.sources[0].paths == ["notes/*.csv"]


def test_a_path_of_the_home_directory(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(home))
    assert os.environ["HOME"] == str(home)
    cmbert("init", "~/start", "--notes", "~/notes/*.csv", "--model", "~/models/small")
    config = load(PrepareConfig, home / "start/data.yaml")
    assert (config.tokenizer, config.sources[0].paths) == (home / "models/small", [f"{home}/notes/*.csv"])


@pytest.mark.parametrize("tokens", [0, 5, 123_456, 9_999_999, 1_234_567_890, 10**12])
def test_recipes_of_any_size_load_and_explain_each_key(tokens: int, tmp_path: Path) -> None:
    odd = Start(
        ["a: b/[x]*.csv", "c, 'd'.csv"], Path("models/#1"), Path("no"), tokens, Columns("yes", "~ id", "a:b"), "cp1252"
    )
    data, train = tmp_path / "data.yaml", tmp_path / "train.yaml"
    data.write_text(data_recipe(odd))
    train.write_text(training_recipe(odd))
    config, run = load(PrepareConfig, data), load(RunConfig, train)
    source = config.sources[0]
    assert (source.paths, source.split_by, config.output) == (odd.notes, "~ id", Path("no/packs"))
    assert source.model_dump().items() >= {"text": "yes", "id": "a:b", "encoding": "cp1252"}.items()
    assert (run.initial_weights, run.data.path) == (Path("models/#1"), "no/packs")
    assert make_plan(run, 8).steps >= 1
    for path in (data, train):
        lines = path.read_text().splitlines()
        keys = set(yaml.safe_load(path.read_text())) | ({*source.model_dump()} if path is data else set())
        for line, before in zip(lines[1:], lines, strict=False):
            key = line.strip().removeprefix("- ").partition(":")[0]
            if key in keys and line.partition(":")[2]:
                assert before.strip().startswith("#"), f"{key} has no comment"
