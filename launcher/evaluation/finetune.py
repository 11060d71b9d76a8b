"""`cmbert finetune`: a model for a task, which is kept with its predictions."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ...configs.preconditions import check_all
from ...configs.reporting import suggest
from ..interface.options import Model, TaskOverrides, Tasks
from .inputs import checks, locate, open_any, open_numbered, short_names
from .tasks import load_tasks


def finetune(
    model: Model,
    task: Tasks,
    overrides: TaskOverrides = [],  # noqa: B006 - typer copies it
    seeds: Annotated[int, typer.Option(help="Models per task, each from its own seed.", min=1)] = 1,
    out: Annotated[Path, typer.Option(help="Directory of the models; finished ones in it are kept.")] = Path(
        "runs/fine-tuned"
    ),
    workers: Annotated[
        int, typer.Option(help="Processes that train seeds and tasks at the same time, each on its own GPU.", min=1)
    ] = 1,
) -> None:
    """Fine-tune an encoder for a task and keep the model: OUT/TASK-SEED with weights, predictions and a card.

    Example: cmbert finetune runs/mine --task ncbi-disease --set data=NCBI-disease-IOB --out runs/diseases

    transformers opens the directories. After an interruption the same command continues, inside a
    training too.
    """
    from ...evaluation.suite import check_keeps, packages

    evaluations = load_tasks(task, overrides)
    check_all(partial(check_keeps, evaluation) for evaluation in evaluations)
    check_all(checks([model], evaluations, out))

    from ...evaluation.results import evaluate, saved_directory, table, write_summary
    from ...evaluation.scores.optional_dependencies import import_packages

    import_packages({name for evaluation in evaluations for name in packages(evaluation)})

    from rich.console import Console

    addresses, names = locate([model]), short_names([model])
    opened = open_any(*addresses, *names)
    again = partial(open_numbered, addresses, names)
    results = []
    for result in evaluate([opened], evaluations, seeds, out, keep=True, workers=workers, open_model=again):
        score, value = next(iter(result.scores.items()))
        typer.echo(f"{result.task}  seed {result.seed}  {score} {value:.4f}")
        results.append(result)
    console = Console()
    for name, scores_of in write_summary(results, out).items():
        console.print(table(name, scores_of))
    saved = [saved_directory(out, result.task, result.seed) for result in results]
    for directory in saved:
        typer.echo(f"model    {directory}")
    first = evaluations[0].task
    if first.kind != "retrieval" or not first.late:
        suggest(["embed" if first.kind == "retrieval" else "predict", str(saved[0]), "NOTES", "--out", "FILE"])
