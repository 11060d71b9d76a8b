"""`cmbert launch`: start a run with different launchers."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ...configs.loader.load import load, locate_recipe
from ...configs.loader.recipes import DATA, TRAINING
from ...configs.preconditions import check_all
from ...configs.reporting import suggest
from ..interface.next_steps import same_command, settings, suggest_after_run
from ..interface.options import Overrides, Recipe
from ..interface.suggestions import SuggestingGroup
from .stop import stop
from .train import share_if_data_is_here, train

if TYPE_CHECKING:
    from ...training.recipe.config import RunConfig

app = typer.Typer(
    cls=SuggestingGroup,
    help="Start a run on this machine, on hosts over ssh, or under a scheduler; stop it.",
    no_args_is_help=True,
)
app.command("local")(train)
app.command()(stop)

Cluster = Annotated[Path, typer.Option(help="YAML file that describes the cluster.", metavar="FILE")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be submitted, and exit.")]


@app.command()
def slurm(
    recipe: Recipe,
    cluster: Cluster,
    overrides: Overrides = [],  # noqa: B006 - typer copies it
    dry_run: DryRun = False,
    chain: Annotated[
        int, typer.Option(min=1, help="Number of jobs to submit; each continues where the previous one stopped.")
    ] = 1,
) -> None:
    """Submit a run that continues by itself after time limits, preemption, crashes and lost nodes.

    Example: cmbert launch slurm base --cluster cluster.yaml --set run_dir=runs/base --dry-run
    """
    from ...training.recipe.config import RunConfig
    from ...training.recipe.limits import limits
    from ..cluster.config import ClusterConfig
    from ..runs.snapshot import entry_point, new_launch_directory, recipe_path, snapshot
    from ..runs.stop_request import clear_stop
    from ..slurm.environment import describe_environment, pack_environment
    from ..slurm.job import render_job, require_mounted, submit

    config = load(RunConfig, locate_recipe(recipe, TRAINING), overrides)
    description = load(ClusterConfig, cluster)
    check_all(limits(config, description.possible_ranks, elsewhere=True))
    require_mounted(description, _files(config))
    run_dir, launch = config.run_dir.resolve(), new_launch_directory(config.run_dir)
    # A container image has its own Python.
    python = "python3" if description.slurm.container else sys.executable
    command = [python, str(entry_point(launch)), "--config", str(recipe_path(launch))]
    staged = describe_environment(description)
    script = render_job(launch, run_dir, description, command, staged)
    if dry_run:
        typer.echo(script, nl=False)
        suggest(same_command("--dry-run"))
        return
    if staged:
        pack_environment(staged)
    share_if_data_is_here(config)
    with snapshot(launch, config) as submitted:
        (run_dir / "logs").mkdir(exist_ok=True)
        (launch / "job.sbatch").write_text(script, encoding="utf-8")
        for _ in range(chain):
            job = submit(launch / "job.sbatch", description)
            submitted()
            clear_stop(run_dir)
            typer.echo(f"submitted job {job}")
    typer.echo(f"script: {launch / 'job.sbatch'}\nlog: {run_dir}/logs/slurm-JOB.out")
    suggest(["status", str(run_dir)])


def _files(config: "RunConfig") -> list[Path]:
    """The directories that every rank of a run reads or writes."""
    from ...storage.hub import is_hub_name
    from ...storage.remote import is_remote

    data = [] if is_remote(config.data.path) else [Path(config.data.path)]
    start = config.initial_weights
    return [config.run_dir, *data, *([start] if start and not is_hub_name(start) else [])]


@app.command()
def hostfile(
    recipe: Recipe,
    hosts: Annotated[Path, typer.Option("--hostfile", metavar="FILE", help="File with lines such as: node1 slots=8")],
    overrides: Overrides = [],  # noqa: B006 - typer copies it
    cluster: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Cluster file, for its fabric, env, pass_env and setup."),
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="Address of the first host, as the others reach it. Default: its name.")
    ] = None,
    port: Annotated[int, typer.Option(help="A free port on the first host.")] = 29500,
    ssh: Annotated[str, typer.Option(help="The ssh command, with any options.")] = "ssh",
) -> None:
    """Run on several hosts over ssh, without a scheduler. The command runs until all ranks end, and they end with it.

    Example: cmbert launch hostfile base --hostfile hosts --set run_dir=/shared/runs/base

    The hosts need the run_dir and this Python at the same paths, for example on a shared disk.
    """
    from ...training.recipe.config import RunConfig
    from ...training.recipe.limits import limits
    from ..cluster.config import ClusterConfig
    from ..ranks.hostfile import read_hostfile, run_on_hosts
    from ..runs.launch_log import run_and_record
    from ..runs.snapshot import code_directory, entry_point, new_launch_directory, recipe_path, take_snapshot

    config = load(RunConfig, locate_recipe(recipe, TRAINING), overrides)
    slots = read_hostfile(hosts)
    description = load(ClusterConfig, cluster) if cluster else None
    check_all(limits(config, sum(slots.values()), elsewhere=True))
    launch = new_launch_directory(config.run_dir)
    share_if_data_is_here(config)
    take_snapshot(launch, config)
    command = [sys.executable, str(entry_point(launch)), "--config", str(recipe_path(launch))]
    env = {"PYTHONPATH": str(code_directory(launch)), **(description.all_environment() if description else {})}

    def start() -> int:
        setup = description.setup if description else ()
        return run_on_hosts(
            slots, command, env, pythonpath=code_directory(launch), setup=setup, address=address, port=port, ssh=ssh
        )

    code = run_and_record(config.run_dir, "hostfile", start, " ".join(slots))
    suggest_after_run(code, config.run_dir)
    raise typer.Exit(code)


@app.command("deepspeed-slurm")
def deepspeed_slurm(recipe: Recipe, overrides: Overrides = []) -> None:  # noqa: B006 - typer copies it
    """Run under DeepSpeed's own SLURM runner inside an allocation; prefer `cmbert launch slurm`, which restarts jobs.

    Example: salloc --nodes=2 --ntasks-per-node=8 cmbert launch deepspeed-slurm base --set run_dir=runs/base
    """
    from ...training.recipe.config import RunConfig
    from ...training.recipe.limits import limits
    from ..runs.launch_log import run_and_record
    from ..runs.snapshot import code_directory, entry_point, new_launch_directory, recipe_path, take_snapshot
    from ..slurm.deepspeed import allocated_hosts, run_deepspeed

    config = load(RunConfig, locate_recipe(recipe, TRAINING), overrides)
    hosts = allocated_hosts(os.environ)
    check_all(limits(config, sum(hosts.values()), elsewhere=True))
    launch = new_launch_directory(config.run_dir)
    share_if_data_is_here(config)
    take_snapshot(launch, config)
    arguments = ["--config", str(recipe_path(launch))]

    def start() -> int:
        return run_deepspeed(launch, code_directory(launch), entry_point(launch), arguments)

    code = run_and_record(config.run_dir, "deepspeed-slurm", start, " ".join(hosts), os.environ.get("SLURM_JOB_ID"))
    suggest_after_run(code, config.run_dir)
    raise typer.Exit(code)


@app.command("slurm-prepare")
def slurm_prepare(
    recipe: Recipe,
    cluster: Cluster,
    shares: Annotated[int, typer.Option(min=1, help="Number of array tasks that share the work.")],
    overrides: Overrides = [],  # noqa: B006 - typer copies it
    dry_run: DryRun = False,
) -> None:
    """Submit `cmbert data prepare` as an array of jobs that share the work, and a final job that packs the result.

    Example: cmbert launch slurm-prepare mine.yaml --cluster cluster.yaml --shares 16
    """
    from ...streaming_data.prepare.config import PrepareConfig
    from ..cluster.config import ClusterConfig
    from ..slurm.prepare import prepare_directory, render_prepare, submit_prepare

    config = load(PrepareConfig, locate_recipe(recipe, DATA), overrides)
    description = load(ClusterConfig, cluster)
    if dry_run:
        typer.echo("\n".join(render_prepare(prepare_directory(config), description, shares)), nl=False)
        suggest(same_command("--dry-run"))
        return
    array, final = submit_prepare(config, description, shares)
    typer.echo(f"submitted array {array} of {shares} shares, and job {final}, which packs them afterwards")
    suggest(["data", "inspect", str(config.output)])


@app.command()
def k8s(
    recipe: Recipe,
    cluster: Cluster,
    overrides: Overrides = [],  # noqa: B006 - typer copies it
    dry_run: DryRun = False,
) -> None:
    """Create a JobSet on Kubernetes that continues after preemption, crashes and lost nodes.

    Example: cmbert launch k8s base --cluster cluster.yaml --set run_dir=/runs/base --dry-run
    """
    from ...training.recipe.config import RunConfig
    from ...training.recipe.limits import limits
    from ..cluster.config import ClusterConfig
    from ..k8s.jobset import render, submit
    from ..runs.stop_request import clear_stop

    config = load(RunConfig, locate_recipe(recipe, TRAINING), overrides)
    description = load(ClusterConfig, cluster)
    check_all(limits(config, description.ranks, elsewhere=True))
    manifest = render(config, description)
    typer.echo(manifest if dry_run else submit(manifest), nl=not dry_run)
    if not dry_run:
        clear_stop(config.run_dir)
    suggest(same_command("--dry-run") if dry_run else ["status", str(config.run_dir)])


@app.command("task-file")
def task_file(
    recipe: Recipe,
    cluster: Cluster,
    tool: Annotated[Literal["skypilot", "dstack"], typer.Option(help="The tool that rents the machines.")],
    overrides: Overrides = [],  # noqa: B006 - typer copies it
) -> None:
    """Print the file of a run for SkyPilot (`sky jobs launch FILE`) or dstack (`dstack apply -f FILE`).

    Example: cmbert launch task-file base --cluster cluster.yaml --tool skypilot > base.sky.yaml
    """
    from ...training.recipe.config import RunConfig
    from ...training.recipe.limits import limits
    from ..cluster.config import ClusterConfig
    from ..k8s.task_file import render_task

    config = load(RunConfig, locate_recipe(recipe, TRAINING), overrides)
    description = load(ClusterConfig, cluster)
    check_all(limits(config, description.ranks, elsewhere=True))
    typer.echo(render_task(config, description, tool), nl=False)
    suggest(["plan", recipe, "--cluster", str(cluster), *settings(overrides)])
