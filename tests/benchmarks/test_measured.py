"""Measured numbers carry their commit, and their age is known."""

import re
import subprocess
import warnings
from pathlib import Path

import pytest

from clinical_modernbert.benchmarks.measured import Mark, changes_since, mistake, read_marks


def git(repository: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=n", "-c", "user.email=e@x", "-C", str(repository), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def history(tmp_path: Path) -> tuple[Path, str]:
    """A repository with two files and its first commit."""
    (tmp_path / "kernels").mkdir()
    (tmp_path / "kernels/code.py").write_text("1\n")
    (tmp_path / "README.md").write_text("1\n")
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        git(tmp_path, *arguments)
    return tmp_path, git(tmp_path, "rev-parse", "--short", "HEAD")


def mark(commit: str, code: str = "kernels") -> Mark:
    return Mark(Path("page.md"), 1, [commit], [code], "python benchmarks/x.py")


def test_only_changes_of_the_code_age_a_number(history: tuple[Path, str]) -> None:
    repository, first = history
    for file, count in (("README.md", 0), ("kernels/code.py", 1), ("kernels/code.py", 2)):
        (repository / file).write_text(f"{count} more\n")
        git(repository, "commit", "-q", "-a", "-m", file)
        assert changes_since(mark(first), repository) == count
    newest = git(repository, "rev-parse", "--short", "HEAD")
    assert changes_since(mark(newest), repository) == 0
    assert changes_since(mark(newest)._replace(commits=[newest, first]), repository) == 2


def test_what_cannot_be_checked_is_named(history: tuple[Path, str]) -> None:
    repository, first = history
    assert mistake(mark(first), repository) == ""
    assert mistake(mark(first, "no/code"), repository) == "no such code: no/code"
    assert mistake(mark("0123456"), repository) == "no commit of this history: 0123456"
    assert mistake(mark(f"{first}-dirty"), repository) == f"no commit of this history: {first}-dirty"


def test_a_mark_without_its_parts_is_an_error(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("text\n\n<!-- measured: 1234567 c0ffee1 | a b | make x | y -->\n")
    assert list(read_marks(tmp_path)) == [Mark(page, 3, ["1234567", "c0ffee1"], ["a", "b"], "make x | y")]
    page.write_text("<!-- measured: 1234567 | make x -->\n")
    with pytest.raises(ValueError, match=r"page\.md:1: expected"):
        list(read_marks(tmp_path))


def test_the_numbers_of_the_docs_have_marks_and_old_ones_are_listed(repository: Path) -> None:
    if not (repository / ".git").exists() or git(repository, "rev-parse", "--is-shallow-repository") == "true":
        pytest.skip("not a clone with its history")
    marks = list(read_marks(repository / "docs"))
    assert {f"{mark.page}:{mark.line}: {reason}" for mark in marks if (reason := mistake(mark, repository))} == set()
    table = (repository / "docs/benchmarks/README.md").read_text().partition("## The benchmarks")[2]
    rows = re.findall(r"^\| `(.+?)` \| .* \| \[.*\]\(\.\./(.+?)\) \|$", table, re.MULTILINE)
    assert len(rows) > 10
    for command, page in rows:
        text = (repository / "docs" / page).read_text()
        computed = command in ("make kernels-report", "make plan-tables")
        assert computed or f"| {' '.join(command.split()[:3])}" in text.replace("OMP_NUM_THREADS=1 ", ""), (
            f"docs/{page} has no mark with the commit of `{command}`"
        )
    old = [f"{mark.page.name}:{mark.line} ({count})" for mark in marks if (count := changes_since(mark, repository))]
    if old:
        warnings.warn(f"numbers older than changes of their code (commits since): {', '.join(old)}", stacklevel=1)
