"""The status of a run, read only from the files in its directory, at any time and without importing torch."""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

from ...configs.errors import USER_ERROR, UserError
from ...configs.loader.load import load
from ...training.checkpoint.attempts import read_attempts
from ...training.checkpoint.files import list_checkpoints, step_of
from ...training.checkpoint.manifest import MANIFEST
from ...training.metrics.csv_log import read_last_rows
from ...training.metrics.stragglers import ROWS, StragglerMetrics, find_straggler
from ...training.metrics.writer import StepMetrics
from ...training.recipe.config import RunConfig
from ...training.recipe.schedule import Plan, make_plan
from ...training.resilience.exit_codes import REWOUND
from .asking import RUNNING, Answer, ask
from .find import similar_runs
from .launch_log import LAUNCHES, REASONS, UNKNOWN, read_launches
from .snapshot import LAUNCH_NAME
from .stop_request import RequestedStop, read_stop

RECENT_STEPS = 50
"""The speed of a run is the median of this many steps."""
LOST = "lost with its launcher"
COMPLETE = REASONS[0]


@dataclass(frozen=True)
class Attempt:
    """One start of the run's ranks, as recorded by the ranks and their launcher.

    Attributes:
        started: UTC, ISO 8601.
        number: from 1; None until all ranks have connected.
        step: the step from which the ranks continued.
        ranks: number of ranks.
        hosts: their machines.
        launcher: such as local, hostfile, slurm, k8s or torchrun; None for a launcher that does not record attempts.
        job: the SLURM job.
        code: exit code; None while the ranks run, or if their launcher was lost.
        reason: why the ranks ended.
    """

    started: str
    number: int | None
    step: int | None
    ranks: int | None
    hosts: str
    launcher: str | None
    job: str | None
    code: int | None
    reason: str | None


@dataclass(frozen=True)
class Status:
    """The status of a run.

    Attributes:
        state: see `describe_state`.
        step: completed steps.
        steps: total steps of the run; None if its config.yaml is missing or does not load.
        tokens_per_second: median of the last steps.
        seconds_left: at that speed; 0 if complete.
        seconds_since_update: time since metrics or the launch log were last written.
        checkpoint: directory of the newest checkpoint.
        attempts: oldest first.
        source: who knows the state, and what they said; None: the run's own records.
        active: the run goes on, or will by itself; None: unknown.
        stop: the request to stop it, if there is one.
        slow_rank: the rank of the last attempt that the others wait for, if one is clearly slower, and why.
    """

    run_dir: str
    state: str
    step: int
    steps: int | None
    loss: float | None
    tokens_per_second: float | None
    seconds_left: float | None
    seconds_since_update: float | None
    checkpoint: str | None
    checkpoint_step: int | None
    attempts: list[Attempt]
    source: str | None = None
    active: bool | None = None
    stop: str | None = None
    slow_rank: str | None = None


def read_status(run_dir: Path) -> Status:
    """Read the status of the run in `run_dir`. Raises UserError if no run was ever started there."""
    attempts = run_attempts(run_dir)
    answer, stop = ask(run_dir), read_stop(run_dir)
    if not attempts and not answer:
        raise no_run(run_dir)
    rows = read_last_rows(run_dir / "metrics.csv", StepMetrics, RECENT_STEPS)
    step = rows[-1]["step"] if rows else 0
    plan = load_plan(run_dir, attempts)
    speed = recent_speed(rows)
    # A checkpoint with its final name and a manifest is complete.
    complete_checkpoints = (path for path in list_checkpoints(run_dir / "checkpoints") if (path / MANIFEST).is_file())
    checkpoint = next(complete_checkpoints, None)
    complete = plan is not None and step >= plan.steps
    return Status(
        run_dir=str(run_dir),
        state=describe_state(attempts, complete, answer, stop),
        step=step,
        steps=plan.steps if plan else None,
        loss=rows[-1]["loss"] if rows else None,
        tokens_per_second=speed,
        seconds_left=seconds_left(plan, step, speed),
        seconds_since_update=seconds_since_update(run_dir),
        checkpoint=str(checkpoint) if checkpoint else None,
        checkpoint_step=step_of(checkpoint) if checkpoint else None,
        attempts=attempts,
        source=answer.source if answer else None,
        active=answer.active if answer else None,
        stop=str(stop) if stop else None,
        slow_rank=slow_rank(attempts, read_last_rows(run_dir / "stragglers.csv", StragglerMetrics, ROWS)),
    )


def no_run(run_dir: Path) -> UserError:
    """Return the error for a directory without a run, with the names of runs that may have been meant."""
    close = similar_runs(str(run_dir))
    hint = f"; did you mean {' or '.join(close)}?" if close else ": expected the run_dir of a training run"
    return UserError(f"{run_dir}: no run was started here{hint}")


def has_ended(status: Status) -> bool:
    """Return whether nothing continues the run by itself.

    A rewound run starts again at once. Under SLURM, stopped and crashed runs do too, until the job gives up.
    """
    if status.active is not None or not status.attempts:
        return not status.active
    last = status.attempts[-1]
    if status.state == COMPLETE or last.code == USER_ERROR or (status.stop and last.reason is not None):
        return True
    if last.reason is None or last.code == REWOUND:
        return False
    return last.launcher != "slurm" or _slurm_gave_up(Path(status.run_dir))


def _slurm_gave_up(run_dir: Path) -> bool:
    """Return whether the script of the newest job wrote `over` (`launcher/slurm/job.sh`)."""
    launches = sorted(path for path in (run_dir / "launches").glob("*/") if LAUNCH_NAME.fullmatch(path.name))
    return bool(launches) and (launches[-1] / "over").exists()


def run_attempts(run_dir: Path) -> list[Attempt]:
    """Combine the records of launchers and of ranks by time: ranks record an attempt after their launcher does."""
    launches: list[dict[str, Any]] = []
    for line in read_launches(run_dir):
        if line["event"] == "started":
            launches.append({**line, "code": None, "reason": None})
        elif line["event"] == "ended" and launches:
            launches[-1].update(code=line["code"], reason=line["reason"])
    by_ranks = [{**record, "number": number} for number, record in enumerate(read_attempts(run_dir), 1)]
    attempts = []
    for index, launch in enumerate(launches):
        next_launch = _seconds(launches[index + 1]["time"]) if index + 1 < len(launches) else float("inf")
        while by_ranks and _seconds(by_ranks[0]["started"]) < _seconds(launch["time"]):
            attempts.append(_attempt({}, by_ranks.pop(0)))
        record = by_ranks.pop(0) if by_ranks and _seconds(by_ranks[0]["started"]) < next_launch else {}
        attempts.append(_attempt(launch, record))
    attempts += [_attempt({}, record) for record in by_ranks]
    return [*map(_mark_lost, attempts[:-1]), *attempts[-1:]]


def _mark_lost(attempt: Attempt) -> Attempt:
    """Set the reason of an earlier attempt without a recorded end: its launcher was lost together with its ranks."""
    return replace(attempt, reason=LOST) if attempt.launcher and attempt.reason is None else attempt


def _attempt(launch: dict[str, Any], record: dict[str, Any]) -> Attempt:
    return Attempt(
        started=launch.get("time") or record["started"],
        number=record.get("number"),
        step=record.get("step"),
        ranks=record.get("world_size"),
        hosts=" ".join(record.get("hosts", [])) or launch.get("nodes", ""),
        launcher=launch.get("launcher"),
        job=launch.get("job"),
        code=launch.get("code"),
        reason=launch.get("reason"),
    )


def describe_outcome(attempt: Attempt) -> str:
    """Return how an attempt ended, such as `crashed (exit code 1)`; empty if that was not recorded."""
    if attempt.reason is None:
        return ""
    return f"{attempt.reason} (exit code {attempt.code})" if attempt.code else attempt.reason


def describe_state(
    attempts: Sequence[Attempt], complete: bool, answer: Answer | None = None, stop: RequestedStop | None = None
) -> str:
    """Return the state of a run: the outcome of the last attempt, else what was answered, else what the files show.

    Args:
        complete: all steps are done.
        answer: of the scheduler or machine, if it was asked.
        stop: the request to stop the run.
    """
    if answer and answer.active:
        return f"{answer.state}, {stop}" if stop else answer.state
    if answer and attempts and (attempts[-1].reason or "").startswith(UNKNOWN):
        return answer.state
    if attempts and attempts[-1].reason:
        outcome = describe_outcome(attempts[-1])
        return f"stopped by request ({stop.by}); last attempt: {outcome}" if stop and not complete else outcome
    if complete:
        return COMPLETE
    if answer:
        return f"{answer.state}, {stop}" if stop else answer.state
    if not attempts:
        return "not complete"
    # A launcher records the end of its ranks, unless it was lost together with its machine.
    return RUNNING if attempts[-1].launcher else "unknown, its launcher records no end"


def load_plan(run_dir: Path, attempts: Sequence[Attempt]) -> Plan | None:
    """Load the plan for the latest known number of ranks; None if config.yaml is missing or does not load."""
    ranks = next((attempt.ranks for attempt in reversed(attempts) if attempt.ranks), 1)
    with suppress(UserError):
        return make_plan(load(RunConfig, run_dir / "config.yaml", allow_secrets=True), ranks)
    return None


def recent_speed(rows: Sequence[dict[str, Any]]) -> float | None:
    """Return the median tokens per second of the last rows; None if there are none."""
    speeds = [row["tokens_per_second"] for row in rows[-RECENT_STEPS:] if row["tokens_per_second"] is not None]
    return median(speeds) if speeds else None


def slow_rank(attempts: Sequence[Attempt], rows: Sequence[dict[str, Any]]) -> str | None:
    """Return the rank that is clearly slower by the last of these rows of stragglers.csv, if it is one.

    Rows of an earlier attempt do not count: its ranks may have been other machines.
    """
    begin = next((attempt.step for attempt in reversed(attempts) if attempt.step is not None), 0)
    found = find_straggler([row for row in rows if row["step"] > begin])
    return str(found) if found else None


def seconds_left(plan: Plan | None, step: int, speed: float | None) -> float | None:
    """Return the time for the steps after `step` at `speed` tokens per second; None if the plan or speed is unknown."""
    if plan is None or not speed:
        return None
    return (plan.packs - plan.start(min(step, plan.steps))) * plan.data.seq_length / speed


def seconds_since_update(run_dir: Path) -> float | None:
    files = [run_dir / "metrics.csv", run_dir / LAUNCHES]
    times = [file.stat().st_mtime for file in files if file.is_file()]
    return max(0.0, time.time() - max(times)) if times else None


def _seconds(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp).timestamp()
