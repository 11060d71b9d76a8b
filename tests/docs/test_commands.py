"""Every `cmbert` command on a page exists, with its options and arguments; every cluster file is valid."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from clinical_modernbert.configs.loader.load import load
from clinical_modernbert.launcher import cli
from clinical_modernbert.launcher.cluster.config import ClusterConfig
from clinical_modernbert.launcher.interface.arguments import with_optional_number, with_repeated

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")])
BLOCK = re.compile(r"^ *```(?:sh|console)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
SEPARATORS = ("|", "||", "&", "&&", ";", ";;", "(", ")", "<", ">", ">>")


def commands_of(page: Path) -> list[list[str]]:
    """The arguments of each `cmbert` in the shell blocks of a page."""
    blocks = BLOCK.findall(page.read_text(encoding="utf-8").replace("\\\n", " "))
    found = []
    for line in "\n".join(blocks).splitlines():
        if "cmbert" not in line:
            continue
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.commenters = "#"
        words = _words(lexer, line)
        starts = [at for at, word in enumerate(words) if word.rpartition("/")[2] == "cmbert"]
        for start in starts:
            end = next((at for at in range(start, len(words)) if words[at] in SEPARATORS), len(words))
            found.append(words[start + 1 : end])
    return found


def _words(lexer: shlex.shlex, line: str) -> list[str]:
    try:
        return list(lexer)
    except ValueError:  # a quoted text over several lines: look inside it
        return line.replace("'", " ").replace('"', " ").split()


def problem(arguments: list[str]) -> str | None:
    """What is wrong with the arguments of `cmbert`, as its own parser sees it."""
    command: Any = typer.main.get_command(cli.app)
    while getattr(command, "commands", None) and arguments and not arguments[0].startswith("-"):
        name, *arguments = arguments
        if name not in command.commands:
            return f"no command {name}"
        command = command.commands[name]
    arguments = with_repeated(with_optional_number(arguments, "--watch", "2"), "--notes")  # as these commands do
    try:
        given, _, _ = command.make_parser(command.context_class(command)).parse_args(arguments)
    except Exception as error:  # of the parser: its classes differ between versions of typer
        return str(error)
    missing = [parameter.name for parameter in command.params if parameter.required and not given.get(parameter.name)]
    return f"missing: {missing}" if missing else None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_exist(page: Path) -> None:
    wrong = {shlex.join(command): found for command in commands_of(page) if (found := problem(command))}
    assert wrong == {}


def test_the_check_detects_wrong_commands() -> None:
    assert sum(len(commands_of(page)) for page in PAGES) > 60
    for wrong in ("trian base", "train base --rank 2", "export runs/mine", "data inspct packs", "report"):
        assert problem(wrong.split()), wrong
    assert problem(["export", "runs/mine", "--out", "models/mine"]) is None


def test_cluster_files_are_valid(tmp_path: Path) -> None:
    texts = [text for page in PAGES for text in re.findall(r'^```yaml title="cluster.yaml"\n(.*?)^```$',
             page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)]  # fmt: skip
    assert texts
    for text in texts:
        (tmp_path / "cluster.yaml").write_text(text)
        load(ClusterConfig, tmp_path / "cluster.yaml")
