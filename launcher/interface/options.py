"""Arguments and options that several commands share."""

from typing import Annotated, Any, TypeAlias

import typer

from ...configs.loader.recipes import DATA, TASK, TRAINING
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
Model: TypeAlias = Annotated[
    str,
    typer.Argument(
        help="A run, an exported model, a Hugging Face directory or a name on the Hub.", autocompletion=completion.runs
    ),
]
Tasks: TypeAlias = Annotated[
    list[str],
    typer.Option(
        "--task",
        help="Name of a task, such as ncbi-disease, or your own YAML file; repeatable.",
        autocompletion=completion.recipes(TASK),
    ),
]
TaskOverrides: TypeAlias = Annotated[list[str], setting("data=NCBI-disease-IOB")]
IdColumn: TypeAlias = Annotated[
    str | None, typer.Option("--id", help="Column of the id. Default: the file's name and the record's number.")
]
Workers: TypeAlias = Annotated[
    int | None, typer.Option(min=1, help="Processes. Default: one per GPU; without one, per core, up to 8.")
]
TokensAtOnce: TypeAlias = Annotated[int, typer.Option(min=1, help="Tokens computed at a time; limits memory.")]
