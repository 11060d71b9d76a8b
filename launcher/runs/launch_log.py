"""The launch log of a run, `launches.jsonl` in its directory: when its ranks were started, and how they ended.

A launcher outlives its ranks and sees their exit code, so it records what ranks cannot. The script of a SLURM job
(`launcher/slurm/job.sh`) writes the same lines.
"""

import json
import logging
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, TypeAdapter, ValidationError

from ...configs.errors import USER_ERROR, UserError
from ...configs.json_text import Timestamp, first_problem, parse_json
from ...training.resilience.exit_codes import REWOUND, STOPPED, WAITING
from .processes import Process, this_process
from .stop_request import clear_stop, read_stop

logger = logging.getLogger(__name__)

LAUNCHES = "launches.jsonl"
REASONS = {
    0: "complete",
    USER_ERROR: "configuration error, see its output",
    STOPPED: "stopped on request",
    REWOUND: "rewound after a loss spike",
    WAITING: "waiting for a number of ranks that fits the run",
}
"""Exit code -> why the ranks ended. `launcher/slurm/job.sh` uses the same texts."""
UNKNOWN = "ended by SLURM, cause unknown"
"""So begins the reason that the script of a job records if SLURM does not say yet why it ends the job."""


class _Start(BaseModel):
    event: Literal["started"]
    time: Timestamp
    launcher: str | None = None
    job: str | None = None
    nodes: str = ""
    process: Any = None


class _End(BaseModel):
    event: Literal["ended"]
    time: Timestamp | None = None
    launcher: str | None = None
    job: str | None = None
    code: int | None = None
    reason: str | None = None


_SCHEMA: TypeAdapter[_Start | _End] = TypeAdapter(_Start | _End)


def record_start(run_dir: Path, launcher: str, nodes: str = "", job: str | None = None) -> None:
    """Record that ranks are about to start on `nodes`, by default this machine, supervised by this process."""
    line: dict[str, Any] = {"event": "started", "launcher": launcher, "job": job}
    process = this_process()
    own = {"process": process.model_dump()} if process else {}
    _append(run_dir, {**line, "nodes": nodes or socket.gethostname(), **own})


def record_end(run_dir: Path, launcher: str, code: int) -> None:
    """Record that the ranks started last have ended."""
    reason = REASONS.get(code, f"killed by signal {code - 128}" if code > 128 else "crashed")
    _append(run_dir, {"event": "ended", "launcher": launcher, "code": code, "reason": reason})


def run_and_record(
    run_dir: Path, launcher: str, start: Callable[[], int], nodes: str = "", job: str | None = None
) -> int:
    """Run the ranks with `start`, again as long as they rewind, and record each attempt; return the last exit code.

    A person starts the run, so an earlier request to stop it no longer counts.
    """
    clear_stop(run_dir)
    code = REWOUND
    while code == REWOUND and not read_stop(run_dir):
        record_start(run_dir, launcher, nodes, job)
        code = 1
        try:
            code = start()
        except UserError:
            code = USER_ERROR
            raise
        finally:
            record_end(run_dir, launcher, code)
    return STOPPED if code == REWOUND else code


def open_launches(run_dir: Path) -> list[dict[str, Any]]:
    """Return the `started` entries that no `ended` entry follows, oldest first: their ranks run, or were lost."""
    entries: list[dict[str, Any]] = []
    for line in read_launches(run_dir):
        if line["event"] == "started":
            entries.append(line)
        elif line["event"] == "ended":
            same = [number for number, entry in enumerate(entries) if entry["launcher"] == line["launcher"]]
            if same:
                del entries[same[-1]]
    return entries


def process_of(launch: Mapping[str, Any]) -> Process | None:
    """Return the process that supervises the ranks of a `started` entry; None if it names none."""
    with suppress(ValidationError):
        return Process.model_validate(launch.get("process"))
    return None


def read_launches(run_dir: Path) -> list[dict[str, Any]]:
    """Return all entries, oldest first. An incomplete line is skipped, and one of another form, with a warning."""
    path = run_dir / LAUNCHES
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n") if path.is_file() else []
    entries = []
    for number, line in enumerate(lines, 1):
        with suppress(ValueError):  # a line that was not written to its end
            entry = parse_json(line)
            try:
                entries.append(_SCHEMA.validate_python(entry).model_dump())
            except ValidationError as error:
                logger.warning(f"{path}: line {number}: {first_problem(error)}: this line is not shown")
    return entries


def _append(run_dir: Path, line: dict[str, Any]) -> None:
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    # The ranks report a run_dir that is not writable.
    with suppress(OSError):
        if line["event"] == "started":
            run_dir.mkdir(parents=True, exist_ok=True)
        elif not (run_dir / LAUNCHES).is_file():
            return  # the directory was moved or replaced during the run
        with (run_dir / LAUNCHES).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"time": now, **line}) + "\n")
