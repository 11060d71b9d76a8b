"""Stop a run under any launcher: its ranks save a checkpoint and end, and nothing starts it again but a person."""

import signal
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ...configs.errors import UserError
from .jobs import active_jobs, cancel, delete_job_set, job_set, signal_script
from .launch_log import open_launches, process_of, read_launches
from .processes import Process, is_alive, send
from .stop_request import POLL_SECONDS, request_stop

_FORCED_SECONDS = 60.0
_POLL_SECONDS = 1.0


@dataclass(frozen=True)
class Part:
    """Something that runs, or would start, ranks of the run.

    Attributes:
        name: for messages.
        request: asks it to save and end.
        force: ends it; None if that is not possible from here.
        runs: whether it is still there.
    """

    name: str
    request: Callable[[], object]
    force: Callable[[], object] | None
    runs: Callable[[], bool]


def stop(run_dir: Path, parts: Sequence[Part], seconds: float, report: Callable[[str], object]) -> None:
    """Request all parts to stop, wait at most `seconds` for their checkpoint, then end them.

    Raises:
        UserError: a part still runs, with its name and why.
    """
    request_stop(run_dir)
    over = "stopped by request"
    for launch in (run_dir / "launches").glob("*/job.sbatch"):
        if not launch.with_name("over").exists():
            launch.with_name("over").write_text(f"{over}\n", encoding="utf-8")
    for part in parts:
        report(f"requesting {part.name} to save and stop")
        part.request()
    left = _wait(parts, seconds)
    for part in left:
        if part.force:
            report(f"{part.name} did not stop within {seconds:g} s: ending it")
            part.force()
    left = _wait(left, _FORCED_SECONDS) if any(part.force for part in left) else left
    if left:
        raise UserError(
            f"{run_dir}: still there after the request: {', '.join(part.name for part in left)}. The request stays "
            "recorded; run this command again, with more --seconds, or on the machine that is named"
        )


def find_parts(run_dir: Path) -> list[Part]:
    """Return everything that runs or would start ranks of the run, what waits in a queue first.

    Raises:
        UserError: the run may have SLURM jobs, and SLURM cannot be asked.
    """
    parts = [*_jobs(run_dir), *(_launch(launch, run_dir) for launch in open_launches(run_dir)[-1:])]
    earlier = [(launch, process_of(launch)) for launch in open_launches(run_dir)[:-1]]
    parts += [_launch(launch, run_dir) for launch, process in earlier if process and is_alive(process)]
    return [part for part in parts if part.runs()]


def job_set_part(name: str, namespace: str | None) -> Part:
    """Return a JobSet. Raises UserError if kubectl cannot be asked."""

    def runs() -> bool:
        found = job_set(name, namespace)
        if found is None:
            raise UserError("kubectl is not installed or does not answer: run this where `kubectl get jobset` works")
        return bool(found)

    label = f"JobSet {namespace + '/' if namespace else ''}{name}"
    return Part(label, partial(delete_job_set, name, namespace), None, runs)


def _jobs(run_dir: Path) -> list[Part]:
    if not any(line["launcher"] == "slurm" for line in read_launches(run_dir)) and not list(
        (run_dir / "launches").glob("*/job.sbatch")
    ):
        return []
    jobs = active_jobs(run_dir)
    if jobs is None:
        raise UserError(f"{run_dir}: squeue is not installed or does not answer: run this on a machine of the cluster")
    # What waits would start as soon as what runs has ended.
    waiting = sorted(jobs.items(), key=lambda job: not job[1].startswith("PENDING"))
    return [_job(run_dir, job, state) for job, state in waiting]


def _job(run_dir: Path, job: str, state: str) -> Part:
    request = partial(signal_script if state == "RUNNING" else cancel, job)

    def runs() -> bool:
        jobs = active_jobs(run_dir)
        return jobs is None or job in jobs  # without an answer nothing has ended

    return Part(f"SLURM job {job} ({state})", request, partial(cancel, job), runs)


def _launch(launch: Mapping[str, Any], run_dir: Path) -> Part:
    """Return the supervisor of ranks that were started without a scheduler, or by a pod."""
    launcher, job = launch["launcher"], launch.get("job")
    if launcher == "k8s" and job:
        namespace, _, name = job.rpartition("/")
        return job_set_part(name, namespace or None)
    process = process_of(launch)
    if launcher == "slurm" or process is None:
        return Part(f"launcher {launcher}", _nothing, None, lambda: False)
    name = f"{launcher}, process {process.pid} on {process.host}"
    here = process.host == socket.gethostname()
    # Under DeepSpeed's SLURM runner, srun would turn SIGTERM into SIGKILL, so its ranks find the file.
    by_file = not here or launcher == "deepspeed-slurm"
    request = _nothing if by_file else partial(send, process, signal.SIGTERM)
    return Part(name, request, partial(_kill, process) if here else None, lambda: _is_open(run_dir, launch, process))


def _is_open(run_dir: Path, launch: Mapping[str, Any], process: Process) -> bool:
    return launch in open_launches(run_dir) and is_alive(process) is not False


def _kill(process: Process) -> None:
    send(process, signal.SIGKILL)


def _nothing() -> None:
    """Ranks look at the file of the request."""


def _wait(parts: Sequence[Part], seconds: float) -> list[Part]:
    """Return the parts that still run after `seconds`."""
    # Ranks that only look at the file need the time to see it.
    deadline = time.monotonic() + max(seconds, 2 * POLL_SECONDS)
    left = [part for part in parts if part.runs()]
    while left and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
        left = [part for part in left if part.runs()]
    return left
