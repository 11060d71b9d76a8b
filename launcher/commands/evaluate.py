"""`cmbert evaluate`: benchmark runs, exported models, or any Hugging Face encoder."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...configs.errors import UserError
from ...configs.loader.load import load, locate_recipe
from ...configs.loader.recipes import TASK
from ...configs.reporting import suggest
from .. import completion
from .next_steps import export_of
from .options import setting

if TYPE_CHECKING:
    from ...evaluation.models.model import EvaluatedModel


def evaluate(
    models: Annotated[
        list[str],
        typer.Argument(
            help="Runs, exported models, Hugging Face directories or names on the Hub.", autocompletion=completion.runs
        ),
    ],
    task: Annotated[
        list[str],
        typer.Option(
            help="Name of a task, such as ncbi-disease, or your own YAML file.",
            autocompletion=completion.recipes(TASK),
        ),
    ],
    overrides: Annotated[list[str], setting("protocol.epochs=5")] = [],  # noqa: B006 - typer copies it
    seeds: Annotated[int, typer.Option(help="Fine-tuning runs per task.", min=1)] = 5,
    out: Annotated[Path, typer.Option(help="Results directory; finished results in it are reused.")] = Path(
        "runs/evaluation"
    ),
) -> None:
    """Fine-tune and score encoders under one protocol; writes OUT/results.json and prints a table.

    Example: cmbert evaluate runs/mine bert-base-uncased --task ncbi-disease --set data=NCBI-disease-IOB

    After an interruption the same command continues with the seed that was interrupted.
    """
    files = [locate_recipe(name, TASK) for name in task]  # errors appear before the slow imports below
    labels = short_names(models)

    from rich.console import Console

    from ...evaluation.results import evaluate as results_of
    from ...evaluation.results import table, write_summary
    from ...evaluation.suite import Evaluation
    from ...evaluation.tasks.code_plot import plot_codes
    from ...evaluation.tasks.code_structure import CodesTask

    evaluations = [load(Evaluation, file, overrides) for file in files]
    if len({evaluation.name for evaluation in evaluations}) < len(evaluations):
        raise UserError("two of the tasks have the same name; each needs its own")
    opened = [open_any(address, name) for address, name in zip(models, labels, strict=True)]
    results = []
    for result in results_of(opened, evaluations, seeds, out):
        score, value = next(iter(result.scores.items()))
        typer.echo(f"{result.task}  {result.model}  seed {result.seed}  {score} {value:.4f}")
        results.append(result)
    console = Console()
    for name, scores_of in write_summary(results, out).items():
        console.print(table(name, scores_of))
    for evaluation in evaluations:
        if isinstance(evaluation.task, CodesTask):
            figure = out / f"{evaluation.name}.png"
            plot_codes(opened, evaluation.task, evaluation.data, evaluation.protocol.tokens, figure)
            typer.echo(f"plot     {figure}")
    typer.echo(f"results  {out / 'results.json'}")
    suggest(_next(Path(models[0]), out))


def _next(model: Path, out: Path) -> list[str]:
    """What to do with the model that is named first."""
    from ...training.export.export import TRAINING

    if (model / TRAINING).is_file():
        return ["push", str(model), "OWNER/NAME", "--private"]
    if (model / "checkpoints").is_dir() or model.parent.name == "checkpoints":
        return [*export_of(model), "--evaluation", str(out)]
    return ["train", "continue-base", "--set", f"initial_weights={model}", "--set", "data.path=DIRECTORY"]


def open_any(address: str, name: str) -> "EvaluatedModel":
    """Open a run or one of its checkpoints with the run's tokenizer, or else a Hugging Face model."""
    from ...evaluation.models.model import open_model, packed_model
    from ...model.hugging_face import assemble
    from ...training.checkpoint.manifest import MANIFEST, read_manifest
    from ...training.checkpoint.save_load import consolidate
    from ...training.export.export import find_checkpoint

    path = Path(address)
    if not ((path / "checkpoints").is_dir() or (path / MANIFEST).is_file()):
        return open_model(address, name)
    checkpoint = find_checkpoint(path)
    config = read_manifest(checkpoint).model
    return packed_model(assemble(config, consolidate(checkpoint)), checkpoint.parent.parent / "tokenizer", name)


def short_names(addresses: list[str]) -> list[str]:
    """Short names for tables: the last part of each address, or all of it where two would be the same."""
    short = [Path(address).name for address in addresses]
    if len(set(addresses)) < len(addresses):
        raise UserError("a model is named twice; list each once")
    return [name if short.count(name) == 1 else address for name, address in zip(short, addresses, strict=True)]
