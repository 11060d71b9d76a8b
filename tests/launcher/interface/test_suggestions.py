"""Suggestions over every command: mistyped commands and options, and names that another command takes."""

import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from clinical_modernbert.configs.loader.recipes import DATA, TASK, TRAINING, recipe_names
from clinical_modernbert.launcher import cli

Capture = pytest.CaptureFixture[str]
TAKES = {
    "train": TRAINING,
    "compare-recipes": TRAINING,
    "plan": TRAINING,
    "launch local": TRAINING,
    "launch slurm": TRAINING,
    "launch hostfile": TRAINING,
    "launch k8s": TRAINING,
    "launch task-file": TRAINING,
    "launch deepspeed-slurm": TRAINING,
    "launch slurm-prepare": DATA,
    "data prepare": DATA,
    "data audit": DATA,
    "tokenizer train": DATA,
    "tokenizer extend": DATA,
    "data overlap": TASK,
    "evaluate": TASK,
    "finetune": TASK,
}
"""The kind of recipe that each command takes; `config show` takes all kinds."""


def commands(path: str = "", command: Any = None) -> Iterator[tuple[str, Any]]:
    command = command or typer.main.get_command(cli.app)
    for name, child in getattr(command, "commands", {}).items():
        yield f"{path} {name}".strip(), child
        yield from commands(f"{path} {name}".strip(), child)


COMMANDS = dict(commands())
LEAVES = {path: command for path, command in COMMANDS.items() if not getattr(command, "commands", None)}


def error(monkeypatch: pytest.MonkeyPatch, capsys: Capture, *arguments: str) -> str:
    """Run a command that fails; return its message on one line, without the frame around it."""
    monkeypatch.setattr(sys, "argv", ["cmbert", *arguments])
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    return re.sub(r"[\s│╭╮╰╯─]+", " ", capsys.readouterr().err)


def typos(word: str) -> Iterator[str]:
    """Two neighbors swapped, and one letter left out, in the middle of the word."""
    middle = len(word) // 2
    yield word[: middle - 1] + word[middle] + word[middle - 1] + word[middle + 1 :]
    yield word[:middle] + word[middle + 1 :]


@pytest.mark.parametrize("path", COMMANDS)
def test_a_mistyped_command_is_suggested(path: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    *group, name = path.split()
    known = {command.split()[-1] for command in COMMANDS}
    for typo in set(typos(name)) - known:
        assert f"'cmbert {path}'" in error(monkeypatch, capsys, *group, typo), typo


@pytest.mark.parametrize("path", [path for path in LEAVES if " " in path and path.split()[-1] not in COMMANDS])
def test_a_command_without_its_group_is_suggested(path: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    assert f"'cmbert {path}'" in error(monkeypatch, capsys, path.split()[-1])


@pytest.mark.parametrize("path", LEAVES)
def test_a_mistyped_option_is_suggested(path: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    everywhere = {option for command in LEAVES.values() for parameter in command.params for option in parameter.opts}
    for option in (option for parameter in LEAVES[path].params for option in parameter.opts if option[:2] == "--"):
        for typo in {f"--{word}" for word in typos(option[2:])} - everywhere:
            message = error(monkeypatch, capsys, *path.split(), typo, "x")
            assert f"No such option: {typo}. Did you mean {option}?" in message


def test_an_option_of_another_command_names_that_command(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    assert "an option of 'cmbert plan'" in error(monkeypatch, capsys, "train", "tiny", "--gpu", "h100")


def arguments_with(path: str, recipe: str) -> list[str]:
    """Give a command its recipe, and some value for each other argument and option that it requires."""
    recipe_parameter = "task" if TAKES[path] is TASK else "recipe"
    words = path.split()
    for parameter in LEAVES[path].params:
        value = recipe if parameter.name == recipe_parameter else {"tool": "dstack"}.get(parameter.name, "1")
        if parameter.required or parameter.name == recipe_parameter:
            words += [value] if parameter.param_type_name == "argument" else [parameter.opts[0], value]
    return words


def test_every_command_with_a_recipe_is_tested() -> None:
    with_recipe = {path for path, command in LEAVES.items() if {p.name for p in command.params} & {"recipe", "task"}}
    assert with_recipe == {*TAKES, "config show"}


@pytest.mark.parametrize("path", TAKES)
def test_only_names_that_the_command_takes_are_suggested(
    path: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    kind = TAKES[path]
    names = recipe_names(kind)
    for name in names:
        typo = name[:-2] + name[-1]
        message = error(monkeypatch, capsys, *arguments_with(path, typo))
        assert f"no {kind.name} has this name; did you mean {name}?" in message
        assert message.strip().endswith(f"({kind.name}s: {', '.join(names)})")


@pytest.mark.parametrize("path", TAKES)
def test_a_recipe_of_another_kind_gives_the_command_for_it(
    path: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    used = {
        TRAINING: ("tiny", "cmbert train tiny"),
        DATA: ("data/demo", "cmbert data prepare data/demo"),
        TASK: ("evaluation/ncbi-disease", "cmbert evaluate MODEL --task evaluation/ncbi-disease"),
    }
    for other, (name, command) in used.items():
        if other is not TAKES[path]:
            message = error(monkeypatch, capsys, *arguments_with(path, name))
            assert f"this is a {other.name}, not a {TAKES[path].name}: run `{command}`" in message


@pytest.mark.parametrize(
    ("word", "tasks"), [("covid", "trec-covid"), ("relation", "chemprot or chemprot-sentences or gad")]
)
def test_the_subject_of_a_task_suggests_it(
    word: str, tasks: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    assert f"did you mean {tasks}?" in error(monkeypatch, capsys, "evaluate", "model", "--task", word)


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["data", "fetch", "pubmd", "--out", "x"], "did you mean pubmed?"),
        (["plan", "base", "--gpu", "h10"], "did you mean h100?"),
        (["train", "ncbi-disease"], "run `cmbert evaluate MODEL --task ncbi-disease`"),
        (["train", "demo"], "run `cmbert data prepare data/demo`"),
    ],
)
def test_other_names(arguments: list[str], hint: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    assert hint in error(monkeypatch, capsys, *arguments)
