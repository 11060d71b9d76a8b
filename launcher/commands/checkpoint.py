"""`cmbert checkpoint`: the checkpoints of a run."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...configs.errors import UserError
from ...configs.loader.load import load
from ...storage.files import require_writable

if TYPE_CHECKING:
    from ...training.recipe.config import CheckpointConfig

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

    from ...training.checkpoint.files import of_run, read_manifest

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
    from ...training.checkpoint.files import damage, of_run

    problems = []
    for path in of_run(run):
        problem = damage(path)
        typer.echo(f"{path.name}: {problem or 'whole'}")
        if problem:
            problems.append(path.name)
    if problems:
        raise UserError(f"{run}: damaged: {', '.join(problems)}; a run skips them and continues from an older one")


@app.command()
def prune(
    run: Run,
    keep_last: Annotated[int | None, typer.Option(min=1, help="How many of the newest stay.")] = None,
    keep_every_steps: Annotated[
        int | None, typer.Option(min=0, help="Those at its multiples stay too; 0: none.")
    ] = None,
    keep_best: Annotated[int | None, typer.Option(min=0, help="So many of the lowest held-out loss stay too.")] = None,
) -> None:
    """Remove all but the newest checkpoints, if those that stay are whole.

    Example: cmbert checkpoint prune runs/tiny --keep-last 2

    What is not said here is kept as the run's own configuration has it.
    """
    from ...training.checkpoint.files import damage, of_run
    from ...training.checkpoint.files import prune as remove

    found = of_run(run)
    keep = _kept_by(run)
    keep_last = keep.keep_last if keep_last is None else keep_last
    keep_every_steps = keep.keep_every_steps if keep_every_steps is None else keep_every_steps
    keep_best = keep.keep_best if keep_best is None else keep_best
    if problem := next((problem for path in found[:keep_last] if (problem := damage(path))), None):
        raise UserError(f"{problem}: nothing was removed, since an older checkpoint may be needed")
    kept = remove(run / "checkpoints", keep_last, keep_every_steps, keep_best)
    removed = [path for path in found if path not in kept]
    typer.echo(f"removed {_listed(removed)}; kept {_listed(kept)}")


def _kept_by(run: Path) -> "CheckpointConfig":
    """What the run's configuration keeps; the defaults if it is not there."""
    from ...training.recipe.config import CheckpointConfig, RunConfig

    path = run / "config.yaml"
    return load(RunConfig, path).checkpoint if path.is_file() else CheckpointConfig()


def _listed(checkpoints: list[Path]) -> str:
    return ", ".join(path.name for path in checkpoints) or "nothing"


@app.command()
def convert(
    checkpoint: Annotated[Path, typer.Argument(help="A run's directory, for its newest, or one checkpoint.")],
    out: Annotated[Path, typer.Argument(help="The file to write, such as whole.safetensors.")],
    optimizer: Annotated[bool, typer.Option("--optimizer", help="With the optimizer's state.")] = False,
) -> None:
    """Put the slices of all ranks together: one safetensors file of whole fp32 tensors.

    Example: cmbert checkpoint convert runs/tiny whole.safetensors
    """
    from safetensors.torch import save_file

    from ...training.checkpoint.save_load import consolidate, consolidate_all
    from ...training.export.export import find_checkpoint

    if out.exists():
        raise UserError(f"{out}: exists already: name a file to be made")
    path = find_checkpoint(checkpoint)
    require_writable(out)
    tensors = consolidate_all(path) if optimizer else consolidate(path)
    aside = out.with_name(f".{out.name}.part")
    save_file(tensors, aside, metadata={"format": "pt"})
    aside.rename(out)
    typer.echo(f"{out}: {len(tensors)} tensors of {path.name}")
