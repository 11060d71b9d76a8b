"""`cmbert train`: a run on this machine, from its recipe."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from ..configs.loader import load
from ..configs.recipes import find_recipe
from .local import run_ranks
from .options import Overrides, Recipe


def train(
    recipe: Recipe,
    overrides: Overrides = [],  # noqa: B006 - typer copies it
    ranks: Annotated[int, typer.Option(help="Processes on this machine: one a GPU, or one a core.", min=1)] = 1,
) -> None:
    """Train, or continue from the newest checkpoint of the recipe's run_dir.

    Example: cmbert train tiny --ranks 2 --set run_dir=runs/first

    The same loop runs under other launchers: deepspeed launcher/train.py --config tiny
    """
    from ..training.config import RunConfig
    from ..training.schedule import make_plan

    make_plan(load(RunConfig, find_recipe(recipe), overrides), ranks)
    entry = Path(__file__).with_name("train.py")
    settings = [part for override in overrides for part in ("--set", override)]
    raise typer.Exit(run_ranks([sys.executable, str(entry), "--config", recipe, *settings], ranks))
