"""The request to stop a run, `stop.json` in its directory.

Signals and schedulers end what runs now. The file is for what they do not reach: ranks on other machines and under any
launcher, a job that waits in a queue, a restart that was decided a moment ago. Rank 0 looks at it while it trains, and
ranks that start after it exit at once. A new start by a person removes it.
"""

import getpass
import os
import signal
import socket
import time
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from threading import Thread

from pydantic import BaseModel, ConfigDict, ValidationError

from ...configs.errors import UserError
from ...storage.files import atomic_write

STOP = "stop.json"
POLL_SECONDS = 5.0


class RequestedStop(BaseModel):
    """When (UTC, ISO 8601) and by whom the stop was requested."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    time: str
    by: str

    def __str__(self) -> str:
        return f"stop requested at {self.time[:19].replace('T', ' ')} UTC by {self.by}"


def request_stop(run_dir: Path) -> RequestedStop:
    """Record the request, unless there is one; return the one that counts."""
    if request := read_stop(run_dir):
        return request
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    request = RequestedStop(time=now, by=f"{_user()} on {socket.gethostname()}")
    atomic_write(run_dir / STOP, request.model_dump_json())
    return request


def read_stop(run_dir: Path) -> RequestedStop | None:
    """Return the request; None if there is none. A file that cannot be parsed is a request all the same."""
    try:
        return RequestedStop.model_validate_json((run_dir / STOP).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValidationError):
        return RequestedStop(time="unknown", by=f"unknown: {STOP} cannot be read")


def clear_stop(run_dir: Path) -> None:
    """Remove the request: a person starts the run anew."""
    with suppress(FileNotFoundError, NotADirectoryError):
        (run_dir / STOP).unlink()


def refuse_if_stopped(run_dir: Path) -> None:
    """Raise UserError if the run was requested to stop and no person has started it since."""
    if request := read_stop(run_dir):
        raise UserError(
            f"{run_dir}: {request}, so this start exits. To continue the run, start it with `cmbert train` or "
            f"`cmbert launch`, or remove {run_dir / STOP} first"
        )


def heed_stop(run_dir: Path) -> None:
    """Send this process SIGTERM soon after the run is requested to stop; a rank then saves a checkpoint and ends."""
    Thread(target=_poll, args=(run_dir,), daemon=True, name="stop request").start()


def _poll(run_dir: Path) -> None:
    while not (run_dir / STOP).exists():
        time.sleep(POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)


def _user() -> str:
    with suppress(Exception):  # a container may know no name for the user's number
        return getpass.getuser()
    return str(os.getuid())
