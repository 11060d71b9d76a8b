"""`cmbert checkpoint`: the checkpoints of a run."""

from pathlib import Path
from typing import Annotated

import typer

from ..configs.errors import UserError

app = typer.Typer(help="Look at a run's checkpoints.", no_args_is_help=True)

Run = Annotated[Path, typer.Argument(help="A run's directory.")]


@app.command("list")
def list_(run: Run) -> None:
    """Show each checkpoint: step, tokens, ranks that wrote it, size.

    Example: cmbert checkpoint list runs/tiny
    """
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    from ..training.checkpoint import of_run, read_manifest

    table = Table("checkpoint", "tokens", "ranks", "size", "directory", box=SIMPLE)
    for path in of_run(run):
        manifest = read_manifest(path)
        size = sum(file["bytes"] for file in manifest["files"].values())
        table.add_row(
            f"{manifest['step']:,}",
            f"{manifest['progress']['tokens']:,}",
            str(manifest["world_size"]),
            f"{size / 2**20:,.1f} MiB",
            path.name,
        )
    Console().print(table)


@app.command()
def verify(run: Run) -> None:
    """Hash every file of every checkpoint; exit code 2 if one is damaged.

    Example: cmbert checkpoint verify runs/tiny
    """
    from ..training.checkpoint import damage, of_run

    problems = []
    for path in of_run(run):
        problem = damage(path)
        typer.echo(f"{path.name}: {problem or 'whole'}")
        if problem:
            problems.append(path.name)
    if problems:
        raise UserError(f"{run}: damaged: {', '.join(problems)}; a run skips them and continues from an older one")


@app.command()
def prune(run: Run, keep_last: Annotated[int, typer.Option(min=1, help="How many stay.")] = 1) -> None:
    """Remove all but the newest checkpoints, if those that stay are whole.

    Example: cmbert checkpoint prune runs/tiny --keep-last 2
    """
    from ..training.checkpoint import damage, of_run
    from ..training.checkpoint import prune as remove

    found = of_run(run)
    if problem := next((problem for path in found[:keep_last] if (problem := damage(path))), None):
        raise UserError(f"{problem}: nothing was removed, since an older checkpoint may be needed")
    remove(run / "checkpoints", keep_last)
    typer.echo(f"kept {', '.join(path.name for path in found[:keep_last])}")
