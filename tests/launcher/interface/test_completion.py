"""Completion in real shells: what they offer, that it is fast, and that nothing heavy is imported."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from clinical_modernbert.configs.loader.recipes import DATA, TASK, TRAINING, recipe_names
from clinical_modernbert.launcher.interface.completion import recipes, runs

HEAVY = {"torch", "transformers", "deepspeed", "streaming", "numpy", "tokenizers", "lxml"}
SHELLS = {
    "bash": 'COMP_WORDS=({words}) COMP_CWORD={at}; _cmbert_completion cmbert; printf "%s\\n" "${{COMPREPLY[@]}}"',
    # zsh's own function only shows words, so it is replaced.
    "zsh": '_arguments() {{ print -r -- "$*"; }}; words=({words}) CURRENT={count}; _cmbert_completion',
    "fish": "complete --do-complete '{line}'",
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with runs and a recipe, a home directory, and `cmbert` on the path."""
    for run in ("runs/first", "runs/group/second", "elsewhere"):
        (tmp_path / run).mkdir(parents=True)
        (tmp_path / run / "launches.jsonl").touch()
    (tmp_path / "runs/empty").mkdir()
    (tmp_path / "mine.yaml").touch()
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "cmbert"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m clinical_modernbert.launcher "$@"\n')
    command.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    for name in ("XDG_CONFIG_HOME", "ZDOTDIR", "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def offered(shell: str, line: str) -> str:
    """Return what a shell offers at the end of the line, with the script that `--show-completion` prints."""
    script = run_in(shell, "cmbert --show-completion")
    words = [*line.split(), ""] if line.endswith(" ") else line.split()
    quoted = " ".join(f"'{word}'" for word in words)
    ask = SHELLS[shell].format(words=quoted, at=len(words) - 1, count=len(words), line=line)
    if shell == "zsh":
        script = script.replace("compdef _cmbert_completion cmbert", "").replace("#compdef cmbert", "")
    return run_in(shell, f"{script}\n{ask}")


def run_in(shell: str, code: str) -> str:
    # The name of the shell is found from the processes, so it must not be replaced by the command.
    quiet = {"bash": ["--norc"], "zsh": ["-f"], "fish": ["--no-config"]}[shell]
    command = [shell, *quiet, "-c", f"{code}\ntrue"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.slow
@pytest.mark.parametrize("shell", SHELLS)
def test_shells_offer_commands_recipes_tasks_and_runs(shell: str, home: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    for line, expected, absent in (
        ("cmbert tra", "train", "status"),
        ("cmbert train con", "continue-base", "tiny"),
        ("cmbert data prepare ", "data/demo", "continue-base"),
        ("cmbert evaluate runs/first --task nc", "ncbi-disease", "tiny"),
        ("cmbert status runs/", "runs/group/second", "runs/empty"),
    ):
        shown = offered(shell, line)
        assert expected in shown, (line, shown)
        assert absent not in shown, (line, shown)


@pytest.mark.parametrize(
    ("shell", "changed"),
    [("bash", ".bashrc"), ("zsh", ".zfunc/_cmbert"), ("fish", ".config/fish/completions/cmbert.fish")],
)
def test_completion_is_installed_for_the_shell_in_use(shell: str, changed: str, home: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    assert f"{shell} completion installed" in run_in(shell, "cmbert --install-completion")
    assert "cmbert" in (home / changed).read_text()


def complete(line: str) -> list[str]:
    """Ask with bash's protocol, without a shell."""
    words = line.split(" ")
    protocol = {"_CMBERT_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    code = (
        "import sys\nfrom clinical_modernbert.launcher import cli\n"
        "try: cli.main()\nfinally: print({name.split('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **protocol}, capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 0, ended.stderr
    assert not HEAVY & set(eval(ended.stderr.splitlines()[-1]))
    return ended.stdout.split()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("cmbert train ", [*recipe_names(TRAINING), "mine.yaml"]),
        ("cmbert plan mi", ["mine.yaml"]),
        ("cmbert data audit data/", recipe_names(DATA)),
        ("cmbert evaluate x --task ", [*recipe_names(TASK), "mine.yaml"]),
        ("cmbert config show ", [*recipe_names(), "mine.yaml"]),
        ("cmbert status runs/first r", ["runs/first", "runs/group/second"]),
        ("cmbert report ", ["elsewhere", "runs/first", "runs/group/second"]),
        ("cmbert export runs/group/", ["runs/group/second"]),
        ("cmbert checkpoint list els", ["elsewhere"]),
        ("cmbert plan base --gpu h100", ["h100-nvl", "h100-pcie", "h100"]),
        ("cmbert data fetch pm", ["pmc"]),
        ("cmbert data upload no-such-fi", []),
    ],
)
def test_words_are_offered_without_heavy_imports(line: str, expected: list[str], home: Path) -> None:
    assert complete(line) == expected


def test_directories_that_cannot_be_read_are_skipped(home: Path) -> None:
    assert runs("no/such/") == []
    assert recipes(DATA)("[") == []
    (home / "runs" / "loop").symlink_to(home)
    assert [path for path, _ in runs("runs/")] == ["runs/first", "runs/group/second"]


def test_descriptions_fit_a_line() -> None:
    for name, text in recipes()(""):
        assert 5 <= len(text) <= 60, name
        assert "\n" not in text
