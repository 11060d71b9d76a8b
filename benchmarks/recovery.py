"""Measure what a checkpoint costs, and how long a killed run needs to recover.

    python benchmarks/recovery.py RECIPE [--ranks 2] [--checkpoints 3] [--set KEY=VALUE ...]

Trains in a temporary directory with a checkpoint every 5 steps, kills launcher and ranks with -9 after some
checkpoints, and starts the same command again. Prints a Markdown table: how long training waited for a checkpoint, and
the seconds from the kill until the checkpoint has been read and until the first new step has ended.
"""

import argparse
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

EVERY_STEPS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--checkpoints", type=int, default=3)
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    with TemporaryDirectory() as run_dir:
        settings = [f"run_dir={run_dir}", f"checkpoint.every_steps={EVERY_STEPS}", *options.overrides]
        command = [sys.executable, "-m", "clinical_modernbert.launcher", "train", options.recipe]
        command += ["--ranks", str(options.ranks), *(part for setting in settings for part in ("--set", setting))]
        with started(command) as (process, lines):
            stalls = [float(first(lines, r"checkpoint .* ([\d.]+) s$")[1]) for _ in range(options.checkpoints)]
            kept = sum(path.stat().st_size for path in newest_checkpoint(run_dir).iterdir())
            process.send_signal(signal.SIGKILL)
            killed = time.monotonic()
        with started(command) as (process, lines):
            first(lines, "continuing from ")
            read = time.monotonic() - killed
            first(lines, r"step [\d,]+/")
            stepped = time.monotonic() - killed
            process.send_signal(signal.SIGKILL)
    print(f"| {options.recipe}, {options.ranks} ranks | |\n|---|---|")
    print(f"| size of a checkpoint | {kept / 1e6:,.0f} MB |")
    print(f"| training waited for a checkpoint | {statistics.median(stalls):.2f} s (median of {len(stalls)}) |")
    print(f"| from the kill until the checkpoint was read | {read:.1f} s |")
    print(f"| from the kill until the end of the first new step | {stepped:.1f} s |")


@contextmanager
def started(command: list[str]) -> Iterator[tuple[subprocess.Popen[str], Iterator[str]]]:
    """Start the command; yields the process and an iterator over its output lines."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, iter(process.stdout.readline, "")
        finally:
            process.kill()


def first(lines: Iterator[str], pattern: str) -> re.Match[str]:
    """The match of the pattern in the first line that has one; exits if the output ends before."""
    seen = []
    for line in lines:
        if match := re.search(pattern, line):
            return match
        seen.append(line)
    sys.exit("".join(seen[-20:]) + f"the run ended before it printed {pattern!r}")


def newest_checkpoint(run_dir: str) -> Path:
    return max((Path(run_dir) / "checkpoints").glob("step*"))


if __name__ == "__main__":
    main()
