"""The command line: its frozen surface, its exit codes, and a start without heavy libraries.

After a deliberate change of commands or options, regenerate the surface:
.venv/bin/python tests/launcher/test_cli.py > tests/launcher/cli_surface.txt
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from pydantic import BaseModel
from typer.core import TyperGroup, TyperOption

from clinical_modernbert import __version__
from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.configs.loader.load import load
from clinical_modernbert.configs.loader.recipes import find_recipe, recipe_names
from clinical_modernbert.evaluation.suite import Evaluation
from clinical_modernbert.launcher import cli
from clinical_modernbert.launcher.commands import config as config_command
from clinical_modernbert.streaming_data.prepare.config import PrepareConfig
from clinical_modernbert.training.recipe.config import RunConfig

SURFACE = Path(__file__).with_name("cli_surface.txt")
HEAVY = {"torch", "transformers", "deepspeed", "streaming", "numpy", "tokenizers", "lxml"}


def surface() -> Iterator[str]:
    """Yield one line per command, argument and option, in the order of their registration."""
    waiting = [("cmbert", typer.main.get_command(cli.app))]
    while waiting:
        name, command = waiting.pop(0)
        yield name
        for parameter in command.params:
            spelled = "/".join([*parameter.opts, *parameter.secondary_opts])
            marks = [mark for mark in ("required", "multiple", "is_flag") if getattr(parameter, mark, False)]
            yield " ".join([f"  {spelled}", parameter.param_type_name, *marks])
        waiting += [(f"{name} {child}", subcommand) for child, subcommand in getattr(command, "commands", {}).items()]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run `cmbert` in this process and return its exit code."""
    monkeypatch.setattr(sys, "argv", ["cmbert", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    code = ended.value.code or 0
    assert isinstance(code, int)
    return code


def test_the_surface_matches_the_committed_file() -> None:
    assert list(surface()) == SURFACE.read_text(encoding="utf-8").splitlines(), __doc__


@pytest.mark.parametrize("command", [line for line in surface() if line.startswith("cmbert ")])
def test_every_command_has_help(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, command: str) -> None:
    assert run(monkeypatch, *command.split()[1:], "--help") == 0
    assert "Usage: cmbert" in capsys.readouterr().out


def test_the_command_line_starts_without_heavy_libraries() -> None:
    code = "import sys, clinical_modernbert.launcher.cli; print({name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert not HEAVY & set(eval(loaded))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data", "prepare", "data/demo", "--set", "sede=1"], "sede: unknown key"),
        (["data", "audit", "data/demo", "--set", "sede=1"], "sede: unknown key"),
        (["tokenizer", "train", "data/demo", "--set", "sede=1"], "sede: unknown key"),
        (["data", "inspect", "none"], "none/manifest.json: no such file"),
        (["evaluate", "none", "--task", "ncbi-diseas"], "did you mean ncbi-disease?"),
        (["checkpoint", "list", "none"], "none: no checkpoint in"),
    ],
    ids=lambda value: None if isinstance(value, str) else " ".join(value[:2]),
)
def test_user_errors_are_reported_before_torch_is_imported(arguments: list[str], message: str, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom clinical_modernbert.launcher import cli\n"
        "try: cli.main()\nfinally: print({name.split('.')[0] for name in sys.modules})"
    )
    command = [sys.executable, "-c", code, *arguments]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, cwd=tmp_path)
    assert (ended.returncode, message in ended.stderr) == (2, True), ended.stderr
    assert not {"torch", "transformers", "deepspeed", "streaming"} & set(eval(ended.stdout.splitlines()[-1]))


def test_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    assert run(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"cmbert {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["confg"], "Did you mean 'cmbert config'"),
        (["config", "show"], "Missing argument"),
        (["config", "show", "a", "--sett", "b"], "--set"),
    ],
)
def test_invalid_usage_exits_with_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, arguments: list[str], message: str
) -> None:
    assert run(monkeypatch, *arguments) == 2
    assert message in capsys.readouterr().err


def test_a_user_error_is_one_message_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text("seed: x\nsede: 1\n")
    assert run(monkeypatch, "config", "show", "mine.yaml", "--set", "data.seq_lenght=1") == 2
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert not out
    assert "Traceback" not in err
    assert all(line.startswith("       ") for line in lines[1:])
    assert lines[0].startswith("error: mine.yaml:1: ")
    assert any(line.startswith("       mine.yaml:1: seed: expected a whole number, got 'x'") for line in lines)
    assert any(line.startswith("       mine.yaml:2: sede: unknown key; did you mean seed?") for line in lines)
    assert any(line.startswith("       --set data.seq_lenght: unknown key; did you mean seq_length?") for line in lines)


def test_debugging_shows_the_traceback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setenv("CMBERT_DEBUG", "1")
    assert run(monkeypatch, "config", "show", "no-such-recipe") == 2
    err = capsys.readouterr().err
    assert err.startswith("Traceback")
    assert err.splitlines()[-1].startswith("error: no-such-recipe: no such file")


@pytest.mark.parametrize(("raised", "code"), [(KeyboardInterrupt(), 130), (UserError("fix it"), 2)])
def test_the_exit_code_follows_the_exception(monkeypatch: pytest.MonkeyPatch, raised: BaseException, code: int) -> None:
    def fail(name: str) -> None:
        raise raised

    monkeypatch.setattr(config_command, "find_recipe", fail)
    assert run(monkeypatch, "config", "show", "tiny") == code


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(config_command, "find_recipe", fail)
    monkeypatch.setattr(sys, "argv", ["cmbert", "config", "show", "tiny"])
    with pytest.raises(ZeroDivisionError):
        cli.main()


@pytest.mark.parametrize("debug", ["0", "1"])
def test_an_unwritable_path_is_a_user_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path, debug: str
) -> None:
    monkeypatch.setenv("CMBERT_DEBUG", debug)
    file = tmp_path / "file"
    file.write_text("x")
    assert run(monkeypatch, "data", "synthesize", "--out", str(file)) == 2
    err = capsys.readouterr().err
    assert err.splitlines()[-1].startswith(f"error: {file}: File exists: a file exists where a directory is needed")
    assert ("FileExistsError" in err) == (debug == "1")


def test_a_system_error_without_a_file_is_a_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> None:
        raise OSError(9, "Bad file descriptor")

    monkeypatch.setattr(config_command, "find_recipe", fail)
    monkeypatch.setattr(sys, "argv", ["cmbert", "config", "show", "tiny"])
    with pytest.raises(OSError, match="Bad file descriptor"):
        cli.main()


@pytest.mark.parametrize(
    ("command", "example"),
    [
        ("train", "optimizer.lr=5e-4"),
        ("data prepare", "sources.0.sample=0.1"),
        ("data audit", "sources.0.sample=0.1"),
        ("tokenizer train", "sources.0.sample=0.1"),
        ("evaluate", "data=NCBI-disease-IOB"),
    ],
)
def test_the_example_of_set_is_accepted_by_the_command(command: str, example: str) -> None:
    target = typer.main.get_command(cli.app)
    for name in command.split():
        assert isinstance(target, TyperGroup)
        target = target.commands[name]
    [option] = [parameter for parameter in target.params if "--set" in parameter.opts]
    assert isinstance(option, TyperOption)
    assert option.help is not None
    assert option.help.endswith(f"e.g. {example}.")
    recipes: dict[str, tuple[str, type[BaseModel]]] = {
        "train": ("base", RunConfig),
        "evaluate": ("evaluation/ncbi-disease", Evaluation),
    }
    recipe, model = recipes.get(command, ("data/demo", PrepareConfig))
    load(model, find_recipe(recipe), [example])


def test_a_shown_configuration_loads_back(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(
        "run_dir: runs/a\ninitial_weights: start\ndata: {path: packs}\nbatch: {global_batch_size: 2}\n"
        "schedule: {total_tokens: 13e9}\noptimizer: {lr: 5e-4}\n"
    )
    assert run(monkeypatch, "config", "show", "mine.yaml", "--set", "batch.global_batch_size=4") == 0
    shown = capsys.readouterr().out
    assert "total_tokens: 13000000000" in shown
    assert "global_batch_size: 4" in shown
    Path("shown.yaml").write_text(shown)
    assert run(monkeypatch, "config", "show", "shown.yaml") == 0
    assert capsys.readouterr().out == shown


if __name__ == "__main__":
    print(*surface(), sep="\n")


@pytest.mark.parametrize("name", recipe_names())
def test_every_packaged_recipe_is_shown_completely(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path, name: str
) -> None:
    path = tmp_path / "shown.yaml"
    assert run(monkeypatch, "config", "show", name) == 0
    path.write_text(capsys.readouterr().out)
    assert run(monkeypatch, "config", "show", str(path)) == 0
    assert capsys.readouterr().out == path.read_text()


def test_a_data_recipe_cannot_be_trained(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    assert run(monkeypatch, "train", "data/demo") == 2
    assert (
        "this is a data recipe, not a training recipe: run `cmbert data prepare data/demo`" in capsys.readouterr().err
    )
