"""How a run stands, from the files of its directory alone: while it runs, or long after it died, without torch."""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

from ...configs.errors import UserError
from ...configs.loader.load import load
from ...training.checkpoint.attempts import read_attempts
from ...training.checkpoint.files import list_checkpoints, step_of
from ...training.checkpoint.manifest import MANIFEST
from ...training.metrics.writer import read_metrics
from ...training.recipe.config import RunConfig
from ...training.recipe.schedule import Plan, make_plan
from .launch_log import LAUNCHES, read_launches

_RECENT = 50


@dataclass(frozen=True)
class Start:
    """One time that the run's ranks were started, as far as they and their launcher told.

    Attributes:
        started: UTC, ISO 8601.
        attempt: its number, once the ranks had met; None before.
        step: where they went on.
        ranks: how many.
        hosts: their machines.
        launcher: local, hostfile or slurm; None if none of ours.
        job: of SLURM.
        code: their exit code; None while they run, or if their launcher was lost too.
        reason: why they ended.
    """

    started: str
    attempt: int | None
    step: int | None
    ranks: int | None
    hosts: str
    launcher: str | None
    job: str | None
    code: int | None
    reason: str | None


@dataclass(frozen=True)
class Status:
    """A run, from outside.

    Attributes:
        state: one line.
        step: made so far.
        steps: of the whole run; None if its config.yaml is not there or does not load.
        tokens_per_second: the median of the last steps.
        seconds_left: at that speed; 0 once complete.
        silent_seconds: since it last wrote a number.
        checkpoint: the newest one's directory.
        starts: oldest first.
    """

    run_dir: str
    state: str
    step: int
    steps: int | None
    loss: float | None
    tokens_per_second: float | None
    seconds_left: float | None
    silent_seconds: float | None
    checkpoint: str | None
    checkpoint_step: int | None
    starts: list[Start]


def read_status(run_dir: Path) -> Status:
    """Raises UserError when nothing was ever run there."""
    starts = read_starts(run_dir)
    if not starts:
        raise UserError(f"{run_dir}: no run was started here: expected the run_dir of a training run")
    rows = read_metrics(run_dir)
    step = rows[-1]["step"] if rows else 0
    plan = plan_of(run_dir, starts)
    speed = median(row["tokens_per_second"] for row in rows[-_RECENT:]) if rows else None
    # What has its final name is whole, if it has its manifest.
    found = (path for path in list_checkpoints(run_dir / "checkpoints") if (path / MANIFEST).is_file())
    checkpoint = next(found, None)
    silent = _silent_seconds(run_dir)
    complete = plan is not None and step >= plan.steps
    return Status(
        run_dir=str(run_dir),
        state=state_of(starts, complete),
        step=step,
        steps=plan.steps if plan else None,
        loss=rows[-1]["loss"] if rows else None,
        tokens_per_second=speed,
        seconds_left=_tokens_left(plan, step) / speed if plan and speed else None,
        silent_seconds=silent,
        checkpoint=str(checkpoint) if checkpoint else None,
        checkpoint_step=step_of(checkpoint) if checkpoint else None,
        starts=starts,
    )


def read_starts(run_dir: Path) -> list[Start]:
    """What launchers noted and what ranks noted, put together by time: ranks note a start after their launcher did."""
    noted: list[dict[str, Any]] = []
    for line in read_launches(run_dir):
        if line["event"] == "started":
            noted.append({**line, "code": None, "reason": None})
        elif line["event"] == "ended" and noted:
            noted[-1].update(code=line["code"], reason=line["reason"])
    waiting = [{**attempt, "attempt": number} for number, attempt in enumerate(read_attempts(run_dir), 1)]
    starts = []
    for index, launch in enumerate(noted):
        until = _seconds(noted[index + 1]["time"]) if index + 1 < len(noted) else float("inf")
        while waiting and _seconds(waiting[0]["started"]) < _seconds(launch["time"]):
            starts.append(_start({}, waiting.pop(0)))
        met = waiting.pop(0) if waiting and _seconds(waiting[0]["started"]) < until else {}
        starts.append(_start(launch, met))
    starts += [_start({}, attempt) for attempt in waiting]
    return [*map(_lost, starts[:-1]), *starts[-1:]]


def _lost(start: Start) -> Start:
    """A launcher that did not tell the end of a start before there was another went down with it."""
    return replace(start, reason="lost with its launcher") if start.launcher and start.reason is None else start


def _start(launch: dict[str, Any], attempt: dict[str, Any]) -> Start:
    return Start(
        started=launch.get("time") or attempt["started"],
        attempt=attempt.get("attempt"),
        step=attempt.get("step"),
        ranks=attempt.get("world_size"),
        hosts=" ".join(attempt.get("hosts", [])) or launch.get("nodes", ""),
        launcher=launch.get("launcher"),
        job=launch.get("job"),
        code=launch.get("code"),
        reason=launch.get("reason"),
    )


def state_of(starts: Sequence[Start], complete: bool) -> str:
    """In a few words: the end that the last start's launcher told, else what the steps tell (`complete`: all made)."""
    if starts and starts[-1].reason:
        return starts[-1].reason
    if complete:
        return "complete"
    if not starts:
        return "not complete"
    # Its launcher would have told; one that was lost with its machine cannot.
    return "running" if starts[-1].launcher else "started by a launcher that tells nothing"


def plan_of(run_dir: Path, starts: Sequence[Start]) -> Plan | None:
    """For the ranks of the last start that tells them; None if its config.yaml is not there or does not load."""
    ranks = next((start.ranks for start in reversed(starts) if start.ranks), 1)
    with suppress(UserError):
        return make_plan(load(RunConfig, run_dir / "config.yaml"), ranks)
    return None


def _tokens_left(plan: Plan, step: int) -> int:
    return (plan.packs - plan.start(min(step, plan.steps))) * plan.data.seq_length


def _silent_seconds(run_dir: Path) -> float | None:
    files = [run_dir / "metrics.csv", run_dir / LAUNCHES]
    times = [file.stat().st_mtime for file in files if file.is_file()]
    return max(0.0, time.time() - max(times)) if times else None


def _seconds(time_: str) -> float:
    return datetime.fromisoformat(time_).timestamp()
