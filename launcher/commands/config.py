"""`cmbert config`: show the complete configuration of a recipe."""

from pathlib import Path

import typer
from pydantic import BaseModel

from ...configs.loader.load import dump, load, sections
from ...configs.loader.recipes import find_recipe
from ...configs.reporting import suggest
from .next_steps import settings
from .options import Overrides, Recipe

app = typer.Typer(help="Inspect recipes.", no_args_is_help=True)


@app.command()
def show(recipe: Recipe, overrides: Overrides = []) -> None:  # noqa: B006 - typer copies it
    """Print the complete configuration of a recipe, with the files it extends, overrides and all defaults.

    Example: cmbert config show tiny --set data.seq_length=512
    """
    path = find_recipe(recipe)
    model = _model(path)
    typer.echo(dump(load(model, path, overrides)), nl=False)
    uses = {
        "PrepareConfig": ["data", "prepare", recipe],
        "Evaluation": ["evaluate", "MODEL", "--task", recipe],
        "ClusterConfig": ["launch", "slurm", "base", "--dry-run", "--cluster", recipe],
    }
    suggest([*uses.get(model.__name__, ["train", recipe, "--plan"]), *settings(overrides)])


def _model(recipe: Path) -> type[BaseModel]:
    """Return the model for a recipe of data, an evaluation, a cluster or a run, according to a distinctive key."""
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
