"""What launchers note of a run in `launches.jsonl` of its directory: when its ranks were started, and how they ended.

A launcher outlives its ranks and knows their true exit code, so it notes what they cannot. The SLURM job's script
writes the same lines.
"""

import json
import socket
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ...configs.errors import USER_ERROR
from ...training.resilience.exit_codes import REWOUND, STOPPED

LAUNCHES = "launches.jsonl"
REASONS = {
    0: "complete",
    USER_ERROR: "refused: its output says why",
    STOPPED: "stopped as asked",
    REWOUND: "rewound after a jump of the loss",
}


def note_start(run_dir: Path, launcher: str, nodes: str = "") -> None:
    """Ranks are about to start on `nodes`, by default this machine."""
    _append(run_dir, {"event": "started", "launcher": launcher, "job": None, "nodes": nodes or socket.gethostname()})


def note_end(run_dir: Path, launcher: str, code: int) -> None:
    """The ranks that were started last have ended."""
    reason = REASONS.get(code, f"killed by signal {code - 128}" if code > 128 else "crashed")
    _append(run_dir, {"event": "ended", "launcher": launcher, "code": code, "reason": reason})


def run_noted(run_dir: Path, launcher: str, start: Callable[[], int], nodes: str = "") -> int:
    """Run the ranks by `start`, and again as long as they rewind; returns the last exit code."""
    code = REWOUND
    while code == REWOUND:
        note_start(run_dir, launcher, nodes)
        code = start()
        note_end(run_dir, launcher, code)
    return code


def read_launches(run_dir: Path) -> list[dict[str, Any]]:
    """All lines, oldest first, without one that was cut short."""
    path = run_dir / LAUNCHES
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    found = []
    for line in lines:
        with suppress(json.JSONDecodeError):
            found.append(json.loads(line))
    return found


def _append(run_dir: Path, line: dict[str, Any]) -> None:
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    # A run_dir that cannot be written is for the ranks to tell.
    with suppress(OSError):
        run_dir.mkdir(parents=True, exist_ok=True)
        with (run_dir / LAUNCHES).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"time": now, **line}) + "\n")
