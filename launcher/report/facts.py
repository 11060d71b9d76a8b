"""What the files of a run tell, read once: of one that is complete, runs, or was killed before it wrote them all."""

import json
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...configs.errors import UserError
from ...training.checkpoint.files import list_checkpoints
from ...training.checkpoint.manifest import CheckpointManifest, try_read_manifest
from ...training.export.scores import Scores, read_scores
from ...training.metrics.csv_log import read_rows
from ...training.metrics.writer import MixMetrics, ValidationMetrics, read_metrics
from ...training.recipe.schedule import Plan
from ..runs.status import Start, plan_of, read_starts, state_of

_MIX_STEPS = 300
_CREDENTIALS = re.compile(r"://[^/@\s]+@")


@dataclass(frozen=True)
class Facts:
    """A run, from its files.

    Attributes:
        rows: of metrics.csv.
        validation: rows of validation.csv.
        mix: of mix.csv, every so many steps and the last: sums since the start change slowly.
        config: config.yaml as text, without passwords in addresses; empty if it is not there.
        plan: None if the configuration is not there or does not load.
        starts: oldest first.
        skips: what was left out after jumps of the loss.
        checkpoints: manifests by directory name, oldest first; None for one that cannot be read.
        results: of evaluations: task, subject, score, as `cmbert evaluate` writes them.
    """

    run_dir: Path
    rows: list[dict[str, Any]]
    validation: list[dict[str, Any]]
    mix: list[dict[str, Any]]
    config: str
    plan: Plan | None
    starts: list[Start]
    skips: list[dict[str, int]]
    checkpoints: dict[str, CheckpointManifest | None]
    results: Scores

    @property
    def newest(self) -> CheckpointManifest | None:
        """The manifest of the newest checkpoint that can be read."""
        return next((found for found in reversed(self.checkpoints.values()) if found), None)

    @property
    def step(self) -> int:
        """The last one noted."""
        return self.rows[-1]["step"] if self.rows else 0


def read_facts(run_dir: Path, evaluations: list[Path]) -> Facts:
    """Raises UserError when nothing in `run_dir` is a run's, or an evaluation named has no results."""
    starts, rows = read_starts(run_dir), read_metrics(run_dir)
    facts = Facts(
        run_dir=run_dir,
        rows=rows,
        validation=read_rows(run_dir / "validation.csv", ValidationMetrics),
        mix=_mix(run_dir / "mix.csv", rows),
        config=_CREDENTIALS.sub("://...@", _text(run_dir / "config.yaml")),
        plan=plan_of(run_dir, starts),
        starts=starts,
        skips=_json(run_dir / "skips.json") or [],
        checkpoints=_checkpoints(run_dir / "checkpoints"),
        results=read_scores(run_dir, evaluations),
    )
    if not (facts.rows or facts.starts or facts.config or facts.checkpoints):
        raise UserError(f"{run_dir}: nothing was run here: expected the run_dir of a training run")
    return facts


def state(facts: Facts) -> tuple[str, str]:
    """As `cmbert status` words it, and a remark."""
    complete = facts.plan is not None and facts.step >= facts.plan.steps
    found = state_of(facts.starts, complete)
    if found == "running":
        return found, "or lost with its launcher"
    code = facts.starts[-1].code if facts.starts else None
    return found, f"exit code {code}" if code else ""


def _mix(path: Path, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    steps = {row["step"] for row in rows[:: max(1, len(rows) // _MIX_STEPS)]} | {row["step"] for row in rows[-1:]}
    return read_rows(path, MixMetrics, steps.__contains__)


def _checkpoints(directory: Path) -> dict[str, CheckpointManifest | None]:
    return {path.name: try_read_manifest(path) for path in reversed(list_checkpoints(directory))}


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _json(path: Path) -> Any:
    with suppress(OSError, ValueError):
        return json.loads(path.read_text(encoding="utf-8"))
    return None
