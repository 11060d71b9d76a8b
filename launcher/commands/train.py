"""`cmbert train`: run a recipe on this machine."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from ...configs.loader.load import load, locate_recipe
from ...configs.loader.recipes import TRAINING
from ...configs.reporting import suggest
from ..ranks.local import run_ranks
from ..runs.launch_log import run_and_record
from .next_steps import same_command, settings, suggest_after_run
from .options import Overrides, Recipe


def train(
    recipe: Recipe,
    overrides: Overrides = [],  # noqa: B006 - typer copies it
    plan: Annotated[bool, typer.Option("--plan", help="Print the plan of the run and exit.")] = False,
    ranks: Annotated[int, typer.Option(help="Processes on this machine: one per GPU, or one per core.", min=1)] = 1,
) -> None:
    """Train a model, or continue from the newest checkpoint in the run_dir of the recipe.

    Example: cmbert train tiny --ranks 2 --set run_dir=runs/first

    The same training also runs under other launchers: deepspeed launcher/train.py --config tiny
    """
    from ...storage.remote import is_remote
    from ...streaming_data.loader.dataset import open_dataset
    from ...training.recipe.config import RunConfig
    from ...training.recipe.schedule import make_plan

    config = load(RunConfig, locate_recipe(recipe, TRAINING), overrides)
    planned = make_plan(config, ranks)
    # Open the data here, to report errors at once instead of in ranks, which first import torch.
    dataset = open_dataset(config.data, config.seed) if plan or not is_remote(config.data.path) else None
    if plan and dataset is not None:
        from ...training.run import plan_lines

        typer.echo("\n".join(plan_lines(planned, dataset)))
        suggest(same_command("--plan"))
        return
    entry = Path(__file__).parents[1] / "train.py"
    command = [sys.executable, str(entry), "--config", recipe, *settings(overrides)]
    code = run_and_record(config.run_dir, "local", lambda: run_ranks(command, ranks))
    suggest_after_run(code, config.run_dir)
    raise typer.Exit(code)
