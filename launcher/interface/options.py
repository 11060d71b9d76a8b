"""Arguments and options that several commands share."""

from typing import Annotated, Any, TypeAlias

import typer

from ...configs.loader.recipes import DATA, TRAINING
from . import completion


def setting(example: str) -> Any:
    """Return the option `--set` of a command; `example` is a setting that the command accepts."""
    return typer.Option("--set", metavar="KEY=VALUE", help=f"Replace one value of the recipe, e.g. {example}.")


Recipe: TypeAlias = Annotated[
    str,
    typer.Argument(
        help="The name of a recipe, such as tiny, or a YAML file.", autocompletion=completion.recipes(TRAINING)
    ),
]
Overrides: TypeAlias = Annotated[list[str], setting("optimizer.lr=5e-4")]
DataRecipe: TypeAlias = Annotated[
    str,
    typer.Argument(
        help="The name of a data recipe, such as data/demo, or a YAML file.", autocompletion=completion.recipes(DATA)
    ),
]
DataOverrides: TypeAlias = Annotated[list[str], setting("sources.0.sample=0.1")]
