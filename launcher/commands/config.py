"""`cmbert config`: recipes as the program reads them."""

from pathlib import Path

import typer
from pydantic import BaseModel

from ...configs.loader.load import dump, load, sections
from ...configs.loader.recipes import find_recipe
from .options import Overrides, Recipe

app = typer.Typer(help="Look at recipes.", no_args_is_help=True)


@app.command()
def show(recipe: Recipe, overrides: Overrides = []) -> None:  # noqa: B006 - typer copies it
    """Print the configuration that a recipe comes to: what it extends, the overrides and every default.

    Example: cmbert config show tiny --set data.seq_length=512
    """
    path = find_recipe(recipe)
    typer.echo(dump(load(_kind(path), path, overrides)), nl=False)


def _kind(recipe: Path) -> type[BaseModel]:
    """What the recipe is of, by a section that no other kind has: data, an evaluation, a cluster or a run."""
    keys = sections(recipe)
    if "sources" in keys:
        from ...streaming_data.prepare.config import PrepareConfig

        return PrepareConfig
    if "task" in keys:
        from ...evaluation.suite import Evaluation

        return Evaluation
    if "ranks_per_node" in keys:
        from ..cluster.config import ClusterConfig

        return ClusterConfig
    from ...training.recipe.config import RunConfig

    return RunConfig
