"""Arguments and options that several commands share."""

from typing import Annotated, Any, TypeAlias

import typer


def setting(example: str) -> Any:
    """The option `--set` of a command; `example` is one that the command would take."""
    return typer.Option("--set", metavar="KEY=VALUE", help=f"Replace one value of the recipe, e.g. {example}.")


Recipe: TypeAlias = Annotated[str, typer.Argument(help="A recipe's name, such as tiny, or a YAML file of your own.")]
Overrides: TypeAlias = Annotated[list[str], setting("optimizer.lr=5e-4")]
DataRecipe: TypeAlias = Annotated[
    str, typer.Argument(help="A data recipe's name, such as data/demo, or a YAML file of your own.")
]
DataOverrides: TypeAlias = Annotated[list[str], setting("sources.0.sample=0.1")]
