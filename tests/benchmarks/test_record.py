"""A benchmark that succeeds adds one row to the history; one that fails adds none."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

HEADER = "| date | benchmark | commit | machine | command | seconds | result |\n|---|---|---|---|---|---|---|\n"


@pytest.fixture(scope="module")
def record(repository: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("record", repository / "benchmarks/record.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def history(tmp_path: Path, record: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The history file of a new git repository with one commit."""
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        (tmp_path / "code.py").write_text("1\n")
        subprocess.run(
            ["git", "-c", "user.name=n", "-c", "user.email=e@x", "-C", str(tmp_path), *arguments], check=True
        )
    monkeypatch.setattr(record, "REPOSITORY", tmp_path)
    path = tmp_path / "history.md"
    path.write_text(HEADER)
    return path


def command(program: str) -> list[str]:
    return ["--", sys.executable, "-c", program]


def last_row(history: Path) -> list[str]:
    text = history.read_text()
    assert text.startswith(HEADER)
    assert text.endswith(" |\n")
    return text.splitlines()[-1].removeprefix("| ").removesuffix(" |").split(" | ")


def test_the_last_json_object_is_the_result(record: ModuleType, history: Path) -> None:
    program = "import time; time.sleep(0.2); print('{\"ms\": 1}'); print('{\"ms\": 2}'); print('3'); print('done')"
    assert record.main(["norm", *command(program)], history) == 0
    date, name, commit, machine, shown, seconds, result = last_row(history)
    assert (name, result) == ("norm", '{"ms": 2}')
    assert date.count("-") == 2
    git = ["git", "-C", str(history.parent), "rev-parse", "HEAD"]
    assert subprocess.run(git, capture_output=True, text=True, check=True).stdout.startswith(commit)
    assert "cores" in machine
    assert 0.2 <= float(seconds) < 60
    assert shown.startswith(f"`{Path(sys.executable).name} -c ")


def test_lines_that_contain_a_text_are_the_result(record: ModuleType, history: Path) -> None:
    program = "print('read   9 us'); print('write 8 us'); print('order 7 us | 6')"
    assert record.main(["loader", "--result", "read", "--result", "order", *command(program)], history) == 0
    assert history.read_text().endswith(r"| read 9 us; order 7 us \| 6 |" + "\n")


def test_only_changes_of_other_tracked_files_make_a_commit_dirty(record: ModuleType, history: Path) -> None:
    for _ in range(2):
        assert record.main(["norm", *command("print('{}')")], history) == 0
        assert not last_row(history)[2].endswith("-dirty")
    (history.parent / "code.py").write_text("2\n")
    assert record.main(["norm", *command("print('{}')")], history) == 0
    assert last_row(history)[2].endswith("-dirty")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (command("import sys; print('{}'); sys.exit(3)"), "ended with code 3: nothing was recorded"),
        (command("print('fast')"), "printed no line with a JSON object"),
        (["--result", "ms", *command("print('{}')")], "printed no line with 'ms'"),
        (["--", "no-such-program"], "no-such-program: cannot be started: No such file or directory"),
    ],
)
def test_a_benchmark_without_a_result_is_refused(
    record: ModuleType, history: Path, capsys: pytest.CaptureFixture, arguments: list[str], message: str
) -> None:
    assert record.main(["norm", *arguments], history) == 2
    assert message in capsys.readouterr().err
    assert history.read_text() == HEADER


def test_the_history_of_the_repository_is_a_table(record: ModuleType, repository: Path) -> None:
    lines = (repository / "docs/benchmarks/history.md").read_text().splitlines()
    rows = lines[lines.index(HEADER.splitlines()[1]) + 1 :]
    assert rows
    assert all(row.replace("\\|", "").count("|") == HEADER.splitlines()[0].count("|") for row in rows)
