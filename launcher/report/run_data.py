"""The data of a run, read once from its files. The run may be complete, active, or killed before it wrote all files."""

import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...configs.errors import UserError
from ...configs.secrets import scrub
from ...training.checkpoint.files import list_checkpoints
from ...training.checkpoint.manifest import CheckpointManifest, try_read_manifest
from ...training.export.scores import Scores, read_scores
from ...training.metrics.csv_log import read_rows
from ...training.metrics.stragglers import StragglerMetrics
from ...training.metrics.writer import MixMetrics, ValidationMetrics, read_metrics
from ...training.recipe.schedule import Plan
from ...training.resilience.skips import load_skips
from ..runs.status import (
    RUNNING,
    Attempt,
    describe_state,
    load_plan,
    no_run,
    recent_speed,
    run_attempts,
    seconds_left,
    seconds_since_update,
    slow_rank,
)

logger = logging.getLogger(__name__)

_MIX_STEPS = 300


@dataclass(frozen=True)
class RunData:
    """The contents of a run's directory.

    Attributes:
        rows: rows of metrics.csv.
        validation: rows of validation.csv.
        stragglers: rows of stragglers.csv; none of a run on one rank.
        mix: rows of mix.csv at regular steps and the last step: cumulative sums change slowly.
        config: text of config.yaml, without passwords in addresses; empty if the file is missing.
        plan: None if the configuration is missing or does not load.
        attempts: oldest first.
        skips: packs skipped after loss spikes.
        checkpoints: {directory name: manifest}, oldest first; None for an unreadable manifest.
        results: results of `cmbert evaluate`: {task: {model: {score: values}}}.
        seconds_since_update: time since metrics or the launch log were last written.
    """

    run_dir: Path
    rows: list[dict[str, Any]]
    validation: list[dict[str, Any]]
    stragglers: list[dict[str, Any]]
    mix: list[dict[str, Any]]
    config: str
    plan: Plan | None
    attempts: list[Attempt]
    skips: list[dict[str, int]]
    checkpoints: dict[str, CheckpointManifest | None]
    results: Scores
    seconds_since_update: float | None

    @property
    def newest_manifest(self) -> CheckpointManifest | None:
        """The manifest of the newest checkpoint with a readable manifest."""
        return next((manifest for manifest in reversed(self.checkpoints.values()) if manifest), None)

    @property
    def step(self) -> int:
        """The last recorded step."""
        return self.rows[-1]["step"] if self.rows else 0

    @property
    def complete(self) -> bool:
        """Whether all steps are completed."""
        return self.plan is not None and self.step >= self.plan.steps

    @property
    def in_progress(self) -> bool:
        """Whether the last attempt has not ended, as far as is known."""
        return bool(self.attempts) and self.attempts[-1].reason is None and not self.complete

    @property
    def slow_rank(self) -> str | None:
        """The rank that the others wait for, as `cmbert status` names it."""
        return slow_rank(self.attempts, self.stragglers)

    @property
    def seconds_left(self) -> float | None:
        """The time for the remaining steps at the speed of the last ones; None if the plan or the speed is unknown."""
        return seconds_left(self.plan, self.step, recent_speed(self.rows))


def read_run_data(run_dir: Path, evaluations: list[Path]) -> RunData:
    """Read a run. Raises UserError if `run_dir` contains no run, or one of `evaluations` has no results."""
    attempts, rows = run_attempts(run_dir), read_metrics(run_dir)
    run = RunData(
        run_dir=run_dir,
        rows=rows,
        validation=read_rows(run_dir / "validation.csv", ValidationMetrics),
        stragglers=read_rows(run_dir / "stragglers.csv", StragglerMetrics),
        mix=_mix(run_dir / "mix.csv", rows),
        config=scrub(_text(run_dir / "config.yaml")),
        plan=load_plan(run_dir, attempts),
        attempts=attempts,
        skips=_skips(run_dir),
        checkpoints=_checkpoints(run_dir / "checkpoints"),
        results=read_scores(run_dir, evaluations),
        seconds_since_update=seconds_since_update(run_dir),
    )
    if not (run.rows or run.attempts or run.config or run.checkpoints):
        raise no_run(run_dir)
    return run


def state(run: RunData) -> tuple[str, str]:
    """Return the state of the run in the words of `cmbert status`, and a remark."""
    description = describe_state(run.attempts, run.complete)
    return description, "or lost with its launcher" if description == RUNNING else ""


def _mix(path: Path, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    steps = {row["step"] for row in rows[:: max(1, len(rows) // _MIX_STEPS)]} | {row["step"] for row in rows[-1:]}
    return read_rows(path, MixMetrics, steps.__contains__)


def _checkpoints(directory: Path) -> dict[str, CheckpointManifest | None]:
    return {path.name: try_read_manifest(path) for path in reversed(list_checkpoints(directory))}


def _skips(run_dir: Path) -> list[dict[str, int]]:
    try:
        return [asdict(skip) for skip in load_skips(run_dir)]
    except UserError as error:  # a page about the rest of the run is better than none
        logger.warning(error)
        return []


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
