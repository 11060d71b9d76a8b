"""The examples of docs/configs.md: files are written, commands run, and their output compared with the page."""

import doctest
import re
import shlex
import sys
from pathlib import Path

import pytest

from clinical_modernbert.configs.loader import tree
from clinical_modernbert.launcher import cli

FILE = re.compile(r'^```yaml title="([^"]+)"\n(.*?)^```$', re.DOTALL | re.MULTILINE)
COMMAND = re.compile(r"^```console\n\$ cmbert ([^\n]+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="session")
def page(repository: Path) -> str:
    return (repository / "docs" / "configs.md").read_text(encoding="utf-8")


def test_every_command_prints_what_the_page_shows(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, text in FILE.findall(page):
        Path(name).write_text(text, encoding="utf-8")
    examples = COMMAND.findall(page)
    assert len(examples) == page.count("```console")
    for arguments, expected in examples:
        monkeypatch.setattr(sys, "argv", ["cmbert", *shlex.split(arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        got = printed.out + printed.err
        assert doctest.OutputChecker().check_output(expected, got, doctest.ELLIPSIS), f"{arguments} prints:\n{got}"
        assert (ended.value.code == 2) == expected.startswith("error:")


def test_the_table_of_scalars_is_correct(page: str) -> None:
    kinds = {
        "a floating-point number": float,
        "a whole number": int,
        "booleans": bool,
        "text": str,
        "null": type(None),
    }
    rows = re.findall(r"^\| (`.+?) \| (.+?) \|$", page, re.MULTILINE)
    checked = 0
    for written, read in rows:
        kind = next((kind for words, kind in kinds.items() if re.match(rf"{words}(;|$)", read)), None)
        for text in re.findall(r"`([^`]+)`", written) if kind else []:
            node = tree.parse(text, lambda line: tree.Location("page", line), [])
            assert node is not None
            assert type(node.value) is kind, text
            checked += 1
    assert checked > 15
