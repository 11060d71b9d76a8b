"""`cmbert launch stop`: stop a run under any launcher."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...configs.errors import UserError
from ...configs.reporting import suggest
from ..interface import completion

if TYPE_CHECKING:
    from ..runs.stopping import Part


def stop(
    run: Annotated[
        Path, typer.Argument(help="The run's directory.", metavar="RUN_DIR", autocompletion=completion.runs)
    ],
    seconds: Annotated[
        float, typer.Option(min=0, help="Time for the checkpoint. What still runs afterwards is ended without one.")
    ] = 300,
    cluster: Annotated[
        Path | None,
        typer.Option(help="The cluster file of a run on Kubernetes whose directory is not here.", metavar="FILE"),
    ] = None,
) -> None:
    """Stop a run: its ranks save a checkpoint and end, jobs that wait are cancelled, and nothing starts it again.

    Example: cmbert launch stop runs/base

    It works for every launcher. `cmbert train` and `cmbert launch` continue the run.
    """
    from ..runs.find import is_run
    from ..runs.status import no_run
    from ..runs.stop_request import read_stop
    from ..runs.stopping import find_parts
    from ..runs.stopping import stop as stop_parts

    parts = [_job_set(run, cluster)] if cluster else []
    if not is_run(str(run)) and not (run / "launches").is_dir():
        if not cluster:
            raise no_run(run)
        if not parts[0].runs():
            typer.echo(f"{run}: nothing runs: there is no {parts[0].name}")
            return
        parts[0].request()
        typer.echo(f"{run}: {parts[0].name} is being deleted; its ranks save a checkpoint")
        return
    parts = [part for part in parts if part.runs()] + find_parts(run)
    if not parts:
        typer.echo(f"{run}: nothing runs" + (f"; {request}" if (request := read_stop(run)) else ""))
    else:
        stop_parts(run, parts, seconds, typer.echo)
        typer.echo(f"{run}: stopped")
    suggest(["status", str(run)])


def _job_set(run_dir: Path, cluster: Path) -> "Part":
    """Return the JobSet of the run. Raises UserError if the one of its name belongs to another run."""
    from ...configs.loader.load import load
    from ..cluster.config import ClusterConfig
    from ..k8s.jobset import run_dir_of, run_name
    from ..runs.jobs import job_set
    from ..runs.stopping import job_set_part

    settings = load(ClusterConfig, cluster).kubernetes
    if settings is None:
        raise UserError(f"{cluster}: no section `kubernetes`: --cluster is for runs on Kubernetes")
    name = run_name(run_dir)
    found = job_set(name, settings.namespace)
    if found and (other := run_dir_of(found)) != run_dir:
        raise UserError(f"JobSet {name} is that of the run {other}, not of {run_dir}: nothing was stopped")
    return job_set_part(name, settings.namespace)
