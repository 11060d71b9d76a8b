"""What is known about the end of a run's last attempt from those who can know: its scheduler, or its machine."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from .jobs import active_jobs, job_set, last_state
from .launch_log import UNKNOWN, open_launches, process_of, read_launches
from .processes import is_alive

RUNNING = "running"
_CACHED_SECONDS = 10
"""`status --watch` looks every two seconds, but does not ask a scheduler that often."""
_STATES = {
    "CANCELLED": "cancelled",
    "TIMEOUT": "out of time",
    "DEADLINE": "out of time",
    "PREEMPTED": "preempted",
    "NODE_FAIL": "lost, because a node failed",
    "BOOT_FAIL": "lost, because a node failed",
    "OUT_OF_MEMORY": "killed, out of memory",
}


@dataclass(frozen=True)
class Answer:
    """What somebody knows about a run now.

    Attributes:
        state: such as `running`, `cancelled`, or `ended, cause unknown`.
        source: who knows it and what they said, for people.
        active: the run goes on, or will by itself; None: unknown.
    """

    state: str
    source: str
    active: bool | None


def ask(run_dir: Path) -> Answer | None:
    """Ask about the run. None: its own records say everything, or nobody can be asked."""
    return _ask(run_dir.resolve(), int(time.monotonic() / _CACHED_SECONDS), _size(run_dir))


@lru_cache(maxsize=64)
def _ask(run_dir: Path, period: int, launches_size: int) -> Answer | None:
    launches = open_launches(run_dir)
    last = next((line for line in reversed(read_launches(run_dir)) if line["event"] == "started"), None)
    if (last is None or last["launcher"] == "slurm") and (answer := _ask_slurm(run_dir, launches, last)):
        return answer
    if not launches:
        return None
    launch = launches[-1]
    if launch["launcher"] == "k8s" and launch.get("job"):
        return _ask_kubernetes(launch["job"])
    return _ask_machine(launch)


def _ask_slurm(run_dir: Path, launches: list[dict[str, Any]], last: Mapping[str, Any] | None) -> Answer | None:
    if last is None and not list((run_dir / "launches").glob("*/job.sbatch")):
        return None
    jobs = active_jobs(run_dir)
    if jobs is None:
        return Answer(RUNNING, "the launch log alone; squeue is not here to ask", None) if launches else None
    if jobs:
        shown = ", ".join(f"job {job} is {state}" for job, state in sorted(jobs.items()))
        waiting = all(state.startswith("PENDING") for state in jobs.values())
        return Answer("waiting for SLURM" if waiting else RUNNING, f"SLURM: {shown}", True)
    recorded = read_launches(run_dir)[-1:]
    unsure = any(str(line.get("reason")).startswith(UNKNOWN) for line in recorded)
    launch = launches[-1] if launches else last
    if not (launches or unsure) or launch is None or not launch.get("job"):
        return None
    job = launch["job"]
    state = last_state(job)
    if state:
        return Answer(_STATES.get(state, "ended, cause unknown"), f"SLURM: job {job} is {state}", False)
    return Answer("ended, cause unknown", f"SLURM: no job {job} any more, and its script recorded no end", False)


def _ask_kubernetes(job: str) -> Answer:
    namespace, _, name = job.rpartition("/")
    found = job_set(name, namespace or None)
    if found is None:
        return Answer(RUNNING, "the launch log alone; kubectl is not here to ask, or does not answer", None)
    if not found:
        return Answer("ended, cause unknown", f"Kubernetes: no JobSet {job} any more", False)
    status = found.get("status", {})
    if terminal := status.get("terminalState"):
        return Answer(str(terminal).lower(), f"Kubernetes: JobSet {job} is {terminal}", False)
    restarts = status.get("restarts", 0)
    return Answer(RUNNING, f"Kubernetes: JobSet {job} exists, {restarts} restarts", True)


def _ask_machine(launch: Mapping[str, Any]) -> Answer:
    process = process_of(launch)
    if process is None:
        return Answer(RUNNING, "the launch log alone, which names no process", None)
    name = f"process {process.pid} on {process.host}"
    alive = is_alive(process)
    if alive is None:
        return Answer(RUNNING, f"the launch log alone; {name} can be asked only there", None)
    if alive:
        return Answer(RUNNING, f"this machine: {name} runs", True)
    return Answer("ended, cause unknown", f"this machine: {name} is gone and recorded no end", False)


def _size(run_dir: Path) -> int:
    path = run_dir / "launches.jsonl"
    return path.stat().st_size if path.is_file() else 0
