"""Arguments and options that several commands share."""

from typing import Annotated, TypeAlias

import typer

Recipe: TypeAlias = Annotated[str, typer.Argument(help="A recipe's name, such as tiny, or a YAML file of your own.")]
Overrides: TypeAlias = Annotated[
    list[str],
    typer.Option("--set", metavar="KEY=VALUE", help="Replace one value of the recipe, e.g. data.seq_length=512."),
]
