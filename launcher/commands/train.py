"""`cmbert train`: run a recipe on this machine."""

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...configs.errors import UserError
from ...configs.loader.load import load, locate_recipe
from ...configs.loader.recipes import TRAINING
from ...configs.preconditions import Check, check_all, check_packages
from ...configs.reporting import suggest
from ..interface.next_steps import same_command, settings, suggest_after_run
from ..interface.options import Overrides, Recipe
from ..ranks.local import run_ranks
from ..ranks.mpi import require_one_process
from ..runs.launch_log import run_and_record

if TYPE_CHECKING:
    from ...training.recipe.config import RunConfig


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
    from ...training.recipe.config import RunConfig
    from ...training.recipe.schedule import make_plan

    config = load(RunConfig, locate_recipe(recipe, TRAINING), overrides)
    check_all(_checks(config, ranks, plan))
    if plan:
        from ...streaming_data.loader.dataset import open_dataset
        from ...training.run import plan_lines

        dataset = open_dataset(config.data, config.seed, packs_per_step=config.batch.global_batch_size)
        typer.echo("\n".join(plan_lines(make_plan(config, ranks), dataset)))
        suggest(same_command("--plan"))
        return
    share_if_data_is_here(config)
    entry = Path(__file__).parents[1] / "train.py"
    command = [sys.executable, str(entry), "--config", recipe, *settings(overrides)]
    code = run_and_record(config.run_dir, "local", lambda: run_ranks(command, ranks))
    suggest_after_run(code, config.run_dir)
    raise typer.Exit(code)


def share_if_data_is_here(config: "RunConfig") -> None:
    """Let others read what a launcher writes if nothing that the run starts from is restricted.

    Data in an object store are not asked for: a launcher needs no access to them, and its files stay private.
    """
    from ...storage.remote import is_remote
    from ...streaming_data.shards.manifest import read_manifest
    from ...training.recipe.start import share_run_unless_restricted

    if not is_remote(config.data.path):
        with suppress(UserError):  # the ranks report it
            share_run_unless_restricted(config, read_manifest(config.data.path.rstrip("/")))


def _checks(config: "RunConfig", ranks: int, plan: bool) -> "Iterator[Check]":
    """Everything that ranks would report only after they have imported torch, and opened a model."""
    from ...storage.preconditions import check_free, check_writable
    from ...training.planning.memory import checkpoint_bytes
    from ...training.recipe.limits import limits
    from ...training.recipe.start import starting_model

    yield lambda: require_one_process(os.environ)
    metrics = config.metrics
    clients = [url for url in (config.data.path, config.checkpoint.upload) if url and url.startswith(("gs:", "az:"))]
    yield lambda: check_packages("metrics.wandb_project", "loggers", ["wandb"]) if metrics.wandb_project else None
    yield lambda: check_packages("metrics.mlflow_uri", "loggers", ["mlflow-skinny"]) if metrics.mlflow_uri else None
    yield lambda: check_packages(clients[0], "clouds") if clients else None
    yield from limits(config, ranks)
    yield lambda: _check_checkpoint(config)
    if not plan:
        yield lambda: check_writable(config.run_dir / "config.yaml")
        yield lambda: check_free(
            config.run_dir / "checkpoints",
            checkpoint_bytes(starting_model(config), config.optimizer, config.running_average is not None),
            "a checkpoint",
        )


def _check_checkpoint(config: "RunConfig") -> None:
    """Check that the run still has the model of its newest checkpoint on this disk."""
    from ...model.token_ids import TOKEN_IDS
    from ...storage.remote import is_remote
    from ...streaming_data.shards.manifest import read_manifest as read_data_manifest
    from ...training.checkpoint.compatibility import require_same_model
    from ...training.checkpoint.files import list_checkpoints
    from ...training.checkpoint.manifest import try_read_manifest
    from ...training.recipe.start import adopt_token_ids, open_initial, starting_model

    for path in list_checkpoints(config.run_dir / "checkpoints"):
        if manifest := try_read_manifest(path):
            model, tokenizer = starting_model(config), ""
            if is_remote(config.data.path):  # the ranks know the tokenizer and its ids
                model = model.model_copy(update={key: getattr(manifest.model, key) for key in TOKEN_IDS})
            else:
                known = read_data_manifest(config.data.path.rstrip("/")).tokenizer
                model = adopt_token_ids(model, open_initial(config), known.special_ids)
                tokenizer = known.sha256
            require_same_model(path, manifest, config, model, tokenizer)
            return
