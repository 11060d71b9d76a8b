"""`cmbert config`: show the complete configuration of a recipe."""

from pathlib import Path
from typing import Annotated

import typer
from pydantic import BaseModel

from ...configs.loader.load import dump, load, sections
from ...configs.loader.recipes import CLUSTER, DATA, SUITE, TASK, find_recipe, kind_of
from ...configs.reporting import suggest
from ..interface import completion
from ..interface.next_steps import settings
from ..interface.options import Overrides
from ..interface.suggestions import SuggestingGroup

app = typer.Typer(cls=SuggestingGroup, help="Inspect recipes.", no_args_is_help=True)


@app.command()
def show(
    recipe: Annotated[
        str,
        typer.Argument(help="The name of a recipe of any kind, or a YAML file.", autocompletion=completion.recipes()),
    ],
    overrides: Overrides = [],  # noqa: B006 - typer copies it
) -> None:
    """Print the complete configuration of a recipe, with the files it extends, overrides and all defaults.

    Example: cmbert config show tiny --set data.seq_length=512
    """
    path = find_recipe(recipe)
    model = _model(path)
    typer.echo(dump(load(model, path, overrides)), nl=False)
    uses = {
        "PrepareConfig": ["data", "prepare", recipe],
        "Evaluation": ["evaluate", "MODEL", "--task", recipe],
        "Suite": ["evaluate", "MODEL", "--suite", recipe, "--data", "DIRECTORY"],
        "ClusterConfig": ["launch", "slurm", "base", "--dry-run", "--cluster", recipe],
    }
    suggest([*uses.get(model.__name__, ["train", recipe, "--plan"]), *settings(overrides)])


def _model(recipe: Path) -> type[BaseModel]:
    """Return the model for the kind of the recipe."""
    kind = kind_of(sections(recipe))
    if kind is DATA:
        from ...streaming_data.prepare.config import PrepareConfig

        return PrepareConfig
    if kind is TASK:
        from ...evaluation.suite import Evaluation

        return Evaluation
    if kind is SUITE:
        from ...evaluation.benchmark import Suite

        return Suite
    if kind is CLUSTER:
        from ..cluster.config import ClusterConfig

        return ClusterConfig
    from ...training.recipe.config import RunConfig

    return RunConfig
