"""`cmbert config`: recipes as the program reads them."""

import typer

from ..configs.loader import dump, load
from ..configs.recipes import find_recipe
from .options import Overrides, Recipe

app = typer.Typer(help="Look at recipes.", no_args_is_help=True)


@app.command()
def show(recipe: Recipe, overrides: Overrides = []) -> None:  # noqa: B006 - typer copies it
    """Print the configuration that a recipe comes to: what it extends, the overrides and every default.

    Example: cmbert config show tiny --set data.seq_length=512
    """
    from ..training.config import RunConfig

    typer.echo(dump(load(RunConfig, find_recipe(recipe), overrides)), nl=False)
