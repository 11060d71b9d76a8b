"""What SLURM and Kubernetes know about the jobs of a run, and how they end them.

Every question has three answers: a state, no such job, or None, if the scheduler cannot be asked.
"""

import hashlib
import json
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...configs.errors import UserError

_SECONDS = 30


def job_name(run_dir: Path) -> str:
    """Return a unique name per run directory: `--dependency=singleton` runs one job per name at a time."""
    path = str(run_dir.resolve())
    return f"cmbert-{re.sub('[^A-Za-z0-9._-]', '_', run_dir.name)}-{hashlib.sha256(path.encode()).hexdigest()[:6]}"


def active_jobs(run_dir: Path) -> dict[str, str] | None:
    """Return {job: state} of the SLURM jobs of a run that wait or run, such as {"12": "PENDING, Priority"}."""
    output = _ask("squeue", "--noheader", f"--name={job_name(run_dir)}", "--format=%i|%T|%r")
    if output is None:
        return None
    rows = [line.split("|", 2) for line in output.splitlines() if line.count("|") == 2]
    return {job: f"{state}, {why}" if state == "PENDING" else state for job, state, why in rows}


def last_state(job: str) -> str | None:
    """Return the state in which a SLURM job is or ended, such as CANCELLED; empty if SLURM has forgotten it."""
    recent = _ask("scontrol", "--oneliner", "show", "job", job)
    if match := re.search(r"\bJobState=([A-Z_]+)", recent or ""):
        return match[1]
    accounted = _ask("sacct", "--noheader", "--allocations", "--parsable2", f"--jobs={job}", "--format=State")
    if words := (accounted or "").split():
        return words[0]  # without "by UID" after CANCELLED
    return None if recent is None and accounted is None and _ask("squeue", "--noheader", "--me") is None else ""


def signal_script(job: str) -> None:
    """Send a job's script the signal that precedes the time limit: its ranks save, and `over` keeps it from requeueing.

    `scancel` alone would leave ranks the seconds of KillWait.
    """
    _do("scancel", "--signal=USR1", "--batch", job)


def cancel(job: str) -> None:
    _do("scancel", job)


def job_set(name: str, namespace: str | None) -> dict[str, Any] | None:
    """Return a JobSet as kubectl shows it; empty if there is none of this name."""
    output = _ask("kubectl", "get", "jobset", name, *_in(namespace), "--ignore-not-found", "--output=json")
    return None if output is None else json.loads(output or "{}")


def delete_job_set(name: str, namespace: str | None) -> None:
    """Delete a JobSet, or the TrainJob that would make it again, with its runtime.

    Its pods receive SIGTERM and have their grace period; the JobSet remains until they are gone.
    """
    owners = (job_set(name, namespace) or {}).get("metadata", {}).get("ownerReferences", [])
    made_by_train_job = any(owner.get("kind") == "TrainJob" for owner in owners)
    made = ["trainjob,trainingruntime", f"--selector=app.kubernetes.io/instance={name}"]
    what = made if made_by_train_job else ["jobset", name]
    _do("kubectl", "delete", *what, *_in(namespace), "--ignore-not-found", "--cascade=foreground", "--wait=false")


def _in(namespace: str | None) -> Sequence[str]:
    return [f"--namespace={namespace}"] if namespace else []


def _ask(*command: str) -> str | None:
    """Return the output of a command; None if it is not installed, fails, or does not answer."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return None if done.returncode else done.stdout


def _do(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
    except OSError as error:
        raise UserError(f"{command[0]} is not installed: run this where the run was launched") from error
    except subprocess.TimeoutExpired as error:
        raise UserError(f"{command[0]} did not answer within {_SECONDS} s: try again") from error
    # A job that has ended meanwhile is no error.
    if done.returncode and not re.search("Invalid job id|already (completed|completing)", done.stderr):
        raise UserError(f"{' '.join(command)}: {done.stderr.strip()}")
