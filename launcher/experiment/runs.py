"""The runs of a comparison: each is trained, then evaluated, by the usual commands, in processes of their own.

Nothing is kept about them but what these commands write, so a comparison that was killed continues like they do.
"""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...configs.errors import USER_ERROR, UserError
from ...configs.loader.load import dump
from ...configs.progress import Progress, part_of
from ...configs.reporting import NEXT
from ...evaluation.results import read_summary
from ...storage.files import atomic_write
from ...streaming_data.parallel import available_cores
from ...training.checkpoint.files import list_checkpoints, step_of
from ...training.metrics.csv_log import read_last_rows
from ...training.metrics.writer import StepMetrics
from ...training.resilience.exit_codes import STOPPED
from ..ranks.local import collect_signals, start_child
from .arms import Arm

logger = logging.getLogger(__name__)

_CMBERT = [sys.executable, "-m", "clinical_modernbert.launcher"]
_POLL_SECONDS = 0.2
_SHOWN_OF_LOG = 2000  # characters
Scores = dict[str, dict[str, float]]
"""Task -> score -> mean over the seeds of fine-tuning."""


@dataclass
class ArmRun:
    """One run of an arm.

    Attributes:
        name: of the run, its files and its directory.
        waiting: commands that are still to be run.
        process: the command that runs.
    """

    name: str
    arm: Arm
    seed: int
    out: Path
    waiting: list[list[str]] = field(default_factory=list)
    process: "subprocess.Popen | None" = None

    @property
    def directory(self) -> Path:
        return self.out / "runs" / self.name

    @property
    def results(self) -> Path:
        return self.out / "evaluation" / self.name

    @property
    def log(self) -> Path:
        return self.out / "logs" / f"{self.name}.log"

    def step(self) -> int:
        """Completed steps."""
        rows = read_last_rows(self.directory / "metrics.csv", StepMetrics, 1)
        return rows[-1]["step"] if rows else 0

    def trained(self) -> bool:
        checkpoints = list_checkpoints(self.directory / "checkpoints")
        return bool(checkpoints) and step_of(checkpoints[0]) >= self.arm.steps

    def scores(self, tasks: Sequence[str]) -> Scores | None:
        """Its results; None until all tasks are done."""
        summary = read_summary(self.results)
        if not all(self.name in summary.get(task, {}) for task in tasks):
            return None
        return {task: {score: values["mean"] for score, values in summary[task][self.name].items()} for task in tasks}


def make_runs(
    arms: Sequence[Arm], seeds: Sequence[int], tasks: Sequence[tuple[str, str]], out: Path, ranks: int, tuning: int
) -> list[ArmRun]:
    """The runs of all seeds, pair by pair, each with the commands that are still to be run.

    Args:
        tasks: name of each task, and what `cmbert evaluate --task` opens it by.
        tuning: fine-tuning runs per task.
    """
    runs = [ArmRun(f"{arm.name}-{seed}", arm, seed, out) for seed in seeds for arm in arms]
    names = [name for name, _ in tasks]
    for run in runs:
        if run.scores(names) is not None:
            continue
        if not run.trained():
            recipe = out / "recipes" / f"{run.name}.yaml"
            recipe.parent.mkdir(parents=True, exist_ok=True)
            config = run.arm.config.model_copy(update={"seed": run.seed, "run_dir": run.directory})
            atomic_write(recipe, dump(config))
            run.waiting.append(["train", str(recipe), "--ranks", str(ranks)])
        options = [part for _, file in tasks for part in ("--task", file)]
        evaluation = ["evaluate", str(run.directory), *options, "--seeds", str(tuning), "--out", str(run.results)]
        run.waiting.append(evaluation)
    return runs


def execute(runs: Sequence[ArmRun], at_once: int, ranks: int, finished: Callable[[ArmRun], None]) -> int:
    """Run the commands of all runs, `at_once` runs at a time; call `finished` after the last command of each.

    A signal to stop is passed on: running trainings save a checkpoint, and the same comparison continues later.

    Returns:
        0, or 85 if it was stopped, or the exit code of the first command that failed: the others are then stopped.
    Raises:
        UserError: a command failed because of a mistake, which its message names.
    """
    environment = {**os.environ, NEXT: "0"}
    if at_once > 1:
        environment.setdefault("OMP_NUM_THREADS", str(max(1, available_cores() // (at_once * ranks))))
    todo = [run for run in runs if run.waiting]
    left, running, failed, code, stopping = list(todo), list[ArmRun](), None, 0, False
    received: list[int] = []
    total = sum(run.arm.steps for run in runs)
    with collect_signals(received), Progress("training", total, "steps") as progress:
        while running or (left and not stopping):
            while left and len(running) < at_once and not stopping:
                running.append(left.pop(0))
                _start_next(running[-1], environment)
            if received:
                stopping, code = True, code or STOPPED
                _signal(running, received.pop(0))
            for run in list(running):
                assert run.process is not None
                if (ended := run.process.poll()) is None:
                    continue
                if ended == 0 and run.waiting and not stopping:
                    _start_next(run, environment)
                    continue
                running.remove(run)
                if ended == 0 and not run.waiting:
                    finished(run)
                elif ended and not stopping:
                    stopping, code, failed = True, 128 - ended if ended < 0 else ended, run
                    _signal(running, signal.SIGTERM)
            with part_of(f"{len(runs) - len(left) - len(running)} of {len(runs)} runs done"):
                progress.update(sum(run.step() for run in runs), total)
            time.sleep(_POLL_SECONDS)
    if failed and code != STOPPED:
        _report(failed, code)
    return code


def _start_next(run: ArmRun, environment: dict[str, str]) -> None:
    run.log.parent.mkdir(parents=True, exist_ok=True)
    with run.log.open("ab") as log:
        command = [*_CMBERT, *run.waiting.pop(0)]
        run.process = start_child(
            command, environment, when_orphaned=signal.SIGTERM, stdout=log, stderr=subprocess.STDOUT
        )


def _signal(running: Sequence[ArmRun], number: int) -> None:
    for run in running:
        assert run.process is not None
        run.process.send_signal(number)


def _report(run: ArmRun, code: int) -> None:
    """Show how the log of a failed run ends."""
    end = run.log.read_text(encoding="utf-8", errors="replace")[-_SHOWN_OF_LOG:].rstrip()
    end = end[end.rfind("error: ") :] if "error: " in end else end[end.rfind("\n", 0, -1) + 1 :]
    message = f"{run.name} ended with exit code {code}; its log is {run.log}: {end.removeprefix('error: ')}"
    if code == USER_ERROR:
        raise UserError(message)
    logger.error(message)
