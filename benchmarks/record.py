"""Run a benchmark and append its result to docs/benchmarks/history.md.

    python benchmarks/record.py proof --result "bag of" -- python benchmarks/proof.py

Each `--result TEXT` selects the printed lines that contain TEXT. Without it, the result is the last printed line that
is a JSON object. A command that fails, or prints no such line, adds no row.
"""

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
HISTORY = REPOSITORY / "docs" / "benchmarks" / "history.md"


def main(arguments: Sequence[str], history: Path = HISTORY) -> int:
    """Returns the exit code: 0, or 2 if nothing was recorded."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.usage = "%(prog)s NAME [--result TEXT]... -- COMMAND..."
    parser.add_argument("name", help="of the benchmark, such as loader")
    parser.add_argument("--result", action="append", default=[], metavar="TEXT", help="record lines that contain TEXT")
    split = list(arguments).index("--") if "--" in arguments else len(arguments)
    options, command = parser.parse_args(arguments[:split]), list(arguments[split + 1 :])
    if not command:
        parser.error("expected a command after --")
    if not history.is_file():
        return _refuse(f"{history}: no such file; it is part of the repository, restore it with git")
    commit = describe_commit(REPOSITORY, history)  # of the code that is about to run
    started = time.perf_counter()
    try:
        code, lines = run(command)
    except OSError as error:
        return _refuse(f"{command[0]}: cannot be started: {error.strerror}")
    seconds = time.perf_counter() - started
    if code:
        return _refuse(f"{shlex.join(command)} ended with code {code}: nothing was recorded")
    result = find_result(lines, options.result)
    if not result:
        expected = " or ".join(map(repr, options.result)) or "a JSON object (or select lines with --result TEXT)"
        return _refuse(f"{shlex.join(command)} printed no line with {expected}: nothing was recorded")
    date = f"{datetime.now(timezone.utc):%Y-%m-%d}"
    row = (date, options.name, commit, describe_machine(), f"`{shown(command)}`", f"{seconds:.1f}", result)
    with history.open("a", encoding="utf-8") as file:
        file.write("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |\n")
    return 0


def run(command: Sequence[str]) -> tuple[int, list[str]]:
    """Run the command and show its output; returns its exit code and the lines of its standard output."""
    lines = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="replace") as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line.strip())
    return process.returncode, lines


def find_result(lines: Sequence[str], texts: Sequence[str]) -> str:
    """The lines that contain one of `texts`, or without texts the last one that is a JSON object; empty if none is."""
    if texts:
        return "; ".join(" ".join(line.split()) for line in lines if any(text in line for text in texts))
    for line in reversed(lines):
        with suppress(ValueError):
            if isinstance(json.loads(line), dict):
                return line
    return ""


def describe_commit(repository: Path, history: Path) -> str:
    """The short hash of HEAD, with `-dirty` if a tracked file other than `history` is changed."""
    git = ["git", "-C", str(repository)]
    head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True).stdout
    changes = [*git, "status", "--porcelain", "--untracked-files=no", "--", "."]
    if history.is_relative_to(repository):
        changes.append(f":!{history.relative_to(repository).as_posix()}")
    changed = subprocess.run(changes, capture_output=True, text=True, check=True).stdout
    return head.strip() + ("-dirty" if changed else "")


def describe_machine() -> str:
    """CPU model, cores that this process may use, and GPUs; no host name."""
    model = platform.processor() or platform.machine()
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    gpus: list[str] = []
    with suppress(OSError, subprocess.CalledProcessError):
        gpus = subprocess.run(query, capture_output=True, text=True, check=True).stdout.split("\n")
    names = [name.strip() for name in gpus if name.strip()]
    return f"{model}, {cores} cores, " + (f"{len(names)} x {names[0]}" if names else "no GPU")


def shown(command: Sequence[str]) -> str:
    """The command as the table shows it: without the directories of the program and of this checkout."""
    return shlex.join([Path(command[0]).name, *(part.replace(f"{REPOSITORY}/", "") for part in command[1:])])


def _refuse(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
