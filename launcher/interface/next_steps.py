"""What a person would want after a command, where several commands share it; shown by `suggest`."""

import sys
from collections.abc import Sequence
from pathlib import Path

from ...configs.errors import USER_ERROR
from ...configs.reporting import suggest
from ...training.resilience.exit_codes import STOPPED


def settings(overrides: Sequence[str]) -> list[str]:
    """The arguments that pass on the `--set` of this command."""
    return [part for override in overrides for part in ("--set", override)]


def same_command(*without: str) -> list[str]:
    """The arguments of this command, without some flags."""
    return [argument for argument in sys.argv[1:] if argument not in without]


def training_on(data: str, vocab_size: int) -> list[str]:
    """Training on a data set, with the smallest recipe whose vocabulary holds that of the data."""
    return ["train", "tiny" if vocab_size <= 4096 else "base", "--set", f"data.path={data}"]


def export_of(run: Path) -> list[str]:
    """The export of a run or of one of its checkpoints."""
    name = run.parent.parent.name if run.parent.name == "checkpoints" else run.name
    return ["export", str(run), "--out", f"models/{name}"]


def evaluation_of(model: str) -> list[str]:
    return ["evaluate", model, "--task", "ncbi-disease", "--set", "data=DIRECTORY"]


def suggest_after_run(code: int, run_dir: Path) -> None:
    """After training: its results, its continuation, or what is known about a crash. An error names its own fix."""
    if code == 0:
        suggest(["report", str(run_dir)], export_of(run_dir))
    elif code == STOPPED:
        suggest(same_command())
    elif code != USER_ERROR:
        suggest(["status", str(run_dir)])
