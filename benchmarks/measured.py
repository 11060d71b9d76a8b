"""List the measured numbers of the docs that are older than the code on which they rest.

    python benchmarks/measured.py

A page marks its measured numbers with the commit that made them (several if they were made in parts), the code, and the
command that makes them again, each path relative to the repository:

    <!-- measured: 1a2b3c4 | streaming_data/loader kernels | python -m clinical_modernbert... -->

Code that has changed since does not make a number wrong. The list says what to measure again first.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parents[1]
_MARK = re.compile(r"<!-- measured: (?P<commits>[^|]*) \| (?P<code>[^|]*) \| (?P<command>.*) -->")


class Mark(NamedTuple):
    page: Path
    line: int
    commits: list[str]
    code: list[str]
    command: str


def main() -> int:
    """Returns the exit code: 0, or 1 if a mark cannot be checked."""
    wrong = 0
    for mark in read_marks(REPOSITORY / "docs"):
        place = f"{mark.page.relative_to(REPOSITORY)}:{mark.line}"
        if reason := mistake(mark, REPOSITORY):
            print(f"{place}: {reason}")
            wrong = 1
        elif count := changes_since(mark, REPOSITORY):
            print(f"{place}: {count} changes of {', '.join(mark.code)} since; again: {mark.command}")
        else:
            print(f"{place}: up to date")
    return wrong


def read_marks(directory: Path) -> Iterator[Mark]:
    """The marks of all pages in the directory.

    Raises:
        ValueError: a mark does not have the three parts.
    """
    for page in sorted(directory.rglob("*.md")):
        for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
            if "<!-- measured" not in line:
                continue
            found = _MARK.fullmatch(line.strip())
            if not found:
                raise ValueError(f"{page}:{number}: expected <!-- measured: COMMIT | CODE | COMMAND -->")
            yield Mark(page, number, found["commits"].split(), found["code"].split(), found["command"])


def mistake(mark: Mark, repository: Path) -> str:
    """Why the age of the numbers cannot be known; empty if it can."""
    if missing := [path for path in mark.code if not (repository / path).exists()]:
        return f"no such code: {', '.join(missing)}"
    if unknown := [commit for commit in mark.commits if not _is_ancestor(commit, repository)]:
        return f"no commit of this history: {', '.join(unknown)}"
    return ""


def changes_since(mark: Mark, repository: Path) -> int:
    """The number of commits since the oldest of the mark's that changed its code."""
    return max(
        int(_git(repository, "rev-list", "--count", f"{commit}..HEAD", "--", *mark.code)) for commit in mark.commits
    )


def _is_ancestor(commit: str, repository: Path) -> bool:
    command = ["git", "-C", str(repository), "merge-base", "--is-ancestor", commit, "HEAD"]
    return subprocess.run(command, capture_output=True).returncode == 0


def _git(repository: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", str(repository), *arguments], capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    sys.exit(main())
