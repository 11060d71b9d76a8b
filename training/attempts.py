"""The starts of a run: attempts.jsonl in its directory, a line each."""

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any


def note_attempt(run_dir: Path, step: int, world_size: int) -> None:
    """Record that the run starts, or starts again, after `step` steps."""
    started = datetime.now(timezone.utc).isoformat(timespec="seconds")
    line = json.dumps({"started": started, "step": step, "world_size": world_size})
    with (run_dir / "attempts.jsonl").open("a") as file:
        file.write(line + "\n")


def read_attempts(run_dir: Path) -> list[dict[str, Any]]:
    """All starts so far, oldest first."""
    path = run_dir / "attempts.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
