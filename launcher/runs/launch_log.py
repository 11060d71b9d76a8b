"""The launch log of a run, `launches.jsonl` in its directory: when its ranks were started, and how they ended.

A launcher outlives its ranks and sees their exit code, so it records what ranks cannot. The script of a SLURM job
(`launcher/slurm/job.sh`) writes the same lines.
"""

import json
import socket
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ...configs.errors import USER_ERROR
from ...training.resilience.exit_codes import REWOUND, STOPPED, WAITING

LAUNCHES = "launches.jsonl"
REASONS = {
    0: "complete",
    USER_ERROR: "configuration error, see its output",
    STOPPED: "stopped on request",
    REWOUND: "rewound after a loss spike",
    WAITING: "waiting for a number of ranks that divides the batch",
}
"""Exit code -> why the ranks ended. `launcher/slurm/job.sh` uses the same texts."""


def record_start(run_dir: Path, launcher: str, nodes: str = "") -> None:
    """Record that ranks are about to start on `nodes`, by default this machine."""
    _append(run_dir, {"event": "started", "launcher": launcher, "job": None, "nodes": nodes or socket.gethostname()})


def record_end(run_dir: Path, launcher: str, code: int) -> None:
    """Record that the ranks started last have ended."""
    reason = REASONS.get(code, f"killed by signal {code - 128}" if code > 128 else "crashed")
    _append(run_dir, {"event": "ended", "launcher": launcher, "code": code, "reason": reason})


def run_and_record(run_dir: Path, launcher: str, start: Callable[[], int], nodes: str = "") -> int:
    """Run the ranks with `start`, again as long as they rewind, and record each attempt; return the last exit code."""
    code = REWOUND
    while code == REWOUND:
        record_start(run_dir, launcher, nodes)
        code = start()
        record_end(run_dir, launcher, code)
    return code


def read_launches(run_dir: Path) -> list[dict[str, Any]]:
    """Return all entries, oldest first. An incomplete line is skipped."""
    path = run_dir / LAUNCHES
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    entries = []
    for line in lines:
        with suppress(json.JSONDecodeError):
            entries.append(json.loads(line))
    return entries


def _append(run_dir: Path, line: dict[str, Any]) -> None:
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    # The ranks report a run_dir that is not writable.
    with suppress(OSError):
        run_dir.mkdir(parents=True, exist_ok=True)
        with (run_dir / LAUNCHES).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"time": now, **line}) + "\n")
