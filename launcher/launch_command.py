"""`cmbert launch`: the same run under different launchers."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from ..configs.loader import load
from ..configs.recipes import find_recipe
from .options import Overrides, Recipe
from .train_command import train

app = typer.Typer(help="Start a run on this machine, on hosts by ssh, or under a scheduler.", no_args_is_help=True)
app.command("local")(train)

Cluster = Annotated[Path, typer.Option(help="YAML file that describes the cluster.", metavar="FILE")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be submitted, and stop.")]


@app.command()
def slurm(
    recipe: Recipe,
    cluster: Cluster,
    overrides: Overrides = [],  # noqa: B006 - typer copies it
    dry_run: DryRun = False,
    chain: Annotated[
        int, typer.Option(min=1, help="Submit so many jobs, each going on where the last one stopped.")
    ] = 1,
) -> None:
    """Submit a run that outlives time limits, preemption, crashes and dead nodes without you.

    Example: cmbert launch slurm base --cluster cluster.yaml --set run_dir=runs/base --dry-run
    """
    from ..training.config import RunConfig
    from ..training.schedule import make_plan
    from .cluster import ClusterConfig
    from .slurm import render_job, submit
    from .snapshot import entry, launch_directory, take_snapshot
    from .snapshot import recipe as copied

    config = load(RunConfig, find_recipe(recipe), overrides)
    asked = load(ClusterConfig, cluster)
    make_plan(config, asked.ranks)
    run_dir, launch = config.run_dir.resolve(), launch_directory(config.run_dir)
    # An image has a Python of its own.
    python = "python3" if asked.slurm.container else sys.executable
    script = render_job(launch, run_dir, asked, [python, str(entry(launch)), "--config", str(copied(launch))])
    if dry_run:
        typer.echo(script, nl=False)
        return
    take_snapshot(launch, config)
    (run_dir / "logs").mkdir(exist_ok=True)
    (launch / "job.sbatch").write_text(script, encoding="utf-8")
    for _ in range(chain):
        typer.echo(f"submitted job {submit(launch / 'job.sbatch', asked)}")
    typer.echo(f"script: {launch / 'job.sbatch'}\nlog: {run_dir}/logs/slurm-JOB.out\nlook: cmbert status {run_dir}")


@app.command("slurm-prepare")
def slurm_prepare(
    recipe: Recipe,
    cluster: Cluster,
    shares: Annotated[int, typer.Option(min=1, help="Tasks of the array: machines that share the work.")],
    overrides: Overrides = [],  # noqa: B006 - typer copies it
    dry_run: DryRun = False,
) -> None:
    """Submit `cmbert data prepare` as an array of jobs that share the work, and a last job that packs it.

    Example: cmbert launch slurm-prepare mine.yaml --cluster cluster.yaml --shares 16
    """
    from ..streaming_data.prepare_config import PrepareConfig
    from .cluster import ClusterConfig
    from .slurm_prepare import prepare_directory, render_prepare, submit_prepare

    config = load(PrepareConfig, find_recipe(recipe), overrides)
    asked = load(ClusterConfig, cluster)
    if dry_run:
        typer.echo("\n".join(render_prepare(prepare_directory(config), asked, shares)), nl=False)
        return
    array, last = submit_prepare(config, asked, shares)
    typer.echo(f"submitted array {array} of {shares} shares, and job {last}, which packs them afterwards")
