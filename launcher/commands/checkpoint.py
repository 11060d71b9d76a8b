"""`cmbert checkpoint`: the checkpoints of a run."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...configs.errors import UserError
from ...configs.loader.load import load
from ...configs.preconditions import Check, check_all
from ...configs.reporting import suggest
from ...storage.files import require_writable, stage_file
from ...storage.preconditions import check_free, check_new
from ..interface import completion
from ..interface.next_steps import export_of
from ..interface.suggestions import SuggestingGroup

if TYPE_CHECKING:
    from ...training.recipe.config import CheckpointConfig

app = typer.Typer(
    cls=SuggestingGroup, help="List, verify, prune, average and convert a run's checkpoints.", no_args_is_help=True
)

Run = Annotated[Path, typer.Argument(help="A run's directory.", autocompletion=completion.runs)]


@app.command("list")
def list_(run: Run) -> None:
    """Show each checkpoint: step, tokens, ranks that wrote it, size.

    Example: cmbert checkpoint list runs/tiny
    """
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    from ...training.checkpoint.files import require_checkpoints
    from ...training.checkpoint.manifest import read_manifest

    table = Table("checkpoint", "tokens", "ranks", "size", "directory", box=SIMPLE)
    for path in require_checkpoints(run):
        manifest = read_manifest(path)
        size = sum(file.bytes for file in manifest.files.values())
        table.add_row(
            f"{manifest.step:,}",
            f"{manifest.progress.tokens:,}",
            str(manifest.world_size),
            f"{size / 2**20:,.1f} MiB",
            path.name,
        )
    Console().print(table)
    suggest(["checkpoint", "verify", str(run)], export_of(run))


@app.command()
def verify(run: Run) -> None:
    """Hash every file of every checkpoint; the exit code is 2 if one is corrupt.

    Example: cmbert checkpoint verify runs/tiny
    """
    from ...training.checkpoint.files import require_checkpoints
    from ...training.checkpoint.files import verify as verify_files

    corrupt = []
    for path in require_checkpoints(run):
        problem = verify_files(path)
        typer.echo(f"{path.name}: {problem or 'complete'}")
        if problem:
            corrupt.append(path.name)
    if corrupt:
        raise UserError(
            f"{run}: corrupt: {', '.join(corrupt)}; a run skips them and continues from an older checkpoint"
        )
    suggest(export_of(run))


@app.command()
def prune(
    run: Run,
    keep_last: Annotated[int | None, typer.Option(min=1, help="Keep the newest so many.")] = None,
    keep_every_steps: Annotated[
        int | None, typer.Option(min=0, help="Also keep those at multiples of it; 0: none.")
    ] = None,
    keep_best: Annotated[
        int | None, typer.Option(min=0, help="Also keep so many of lowest validation loss; 0: none.")
    ] = None,
) -> None:
    """Remove all but the newest checkpoints, if those are complete.

    Example: cmbert checkpoint prune runs/tiny --keep-last 2

    Options that are not given have the values of the run's own configuration.
    """
    from ...training.checkpoint import files

    checkpoints = files.require_checkpoints(run)
    keep = _checkpoint_config(run)
    keep_last = keep.keep_last if keep_last is None else keep_last
    keep_every_steps = keep.keep_every_steps if keep_every_steps is None else keep_every_steps
    keep_best = keep.keep_best if keep_best is None else keep_best
    if problem := next(filter(None, map(files.verify, checkpoints[:keep_last])), None):
        raise UserError(f"{problem}: nothing was removed, since an older checkpoint may be needed")
    kept = files.prune(run / "checkpoints", keep_last, keep_every_steps, keep_best)
    removed = [path for path in checkpoints if path not in kept]
    typer.echo(f"removed {_names(removed)}; kept {_names(kept)}")
    suggest(["checkpoint", "list", str(run)])


@app.command()
def average(
    run: Run,
    out: Annotated[Path, typer.Option("--out", help="The new directory, laid out as a run's.")],
    last: Annotated[int, typer.Option(min=1, help="Average the newest so many complete checkpoints.")] = 5,
    weights: Annotated[
        str | None, typer.Option(help="Their weights from the oldest to the newest, such as 1,2,4; default: equal.")
    ] = None,
) -> None:
    """Average the weights of a run's newest checkpoints. The result can be exported, but no run can continue from it.

    Example: cmbert checkpoint average runs/tiny --last 5 --out runs/tiny-average
    """
    from ...training.checkpoint.average import newest_complete, parse_weights, write_average
    from ...training.export.inputs import newest_manifest, size

    def check_weights() -> None:
        parse_weights(weights, last)

    checks: list[Check] = [
        check_weights,
        lambda: check_new(out),
        lambda: check_free(out, size(newest_manifest(run)), "the average"),
    ]
    check_all(checks)
    checkpoints, shares = newest_complete(run, last), parse_weights(weights, last)
    write_average(checkpoints, shares, out)
    parts = ", ".join(f"{path.name} x {share:.3g}" for path, share in zip(checkpoints, shares, strict=True))
    typer.echo(f"{out}: the average of {parts}")
    suggest(export_of(out))


def _checkpoint_config(run: Path) -> "CheckpointConfig":
    """The `checkpoint` section of the run's configuration; the defaults if the run has no config.yaml."""
    from ...training.recipe.config import CheckpointConfig, RunConfig

    path = run / "config.yaml"
    return load(RunConfig, path).checkpoint if path.is_file() else CheckpointConfig()


def _names(checkpoints: list[Path]) -> str:
    return ", ".join(path.name for path in checkpoints) or "nothing"


@app.command()
def convert(
    checkpoint: Annotated[
        Path,
        typer.Argument(help="A run's directory, for its newest, or one checkpoint.", autocompletion=completion.runs),
    ],
    out: Annotated[Path, typer.Argument(help="The file to write, such as whole.safetensors.")],
    optimizer: Annotated[bool, typer.Option("--optimizer", help="Include the optimizer's state.")] = False,
) -> None:
    """Combine the shards of all ranks into one safetensors file of full fp32 tensors.

    Example: cmbert checkpoint convert runs/tiny whole.safetensors
    """
    from ...training.export.inputs import find_checkpoint, newest_manifest, size

    copies = 3 if optimizer else 1
    checks: list[Check] = [
        lambda: check_new(out, "name a new file"),
        lambda: check_free(out, size(newest_manifest(checkpoint), copies), "the file"),
    ]
    check_all(checks)
    path = find_checkpoint(checkpoint)
    require_writable(out)

    from safetensors.torch import save_file

    from ...training.checkpoint.save_load import consolidate, consolidate_with_optimizer

    tensors = consolidate_with_optimizer(path) if optimizer else consolidate(path)
    with stage_file(out) as staging:
        save_file(tensors, staging, metadata={"format": "pt"})
    typer.echo(f"{out}: {len(tensors)} tensors of {path.name}")
    suggest(export_of(checkpoint))
