"""`cmbert evaluate`: benchmark runs, exported models, or any Hugging Face encoder."""

import json
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...configs.errors import UserError
from ...configs.loader.load import load, locate_recipe
from ...configs.loader.recipes import TASK
from ...configs.preconditions import Check, check_all, check_packages
from ...configs.reporting import suggest
from ..interface import completion
from ..interface.next_steps import export_of
from ..interface.options import setting

if TYPE_CHECKING:
    from ...evaluation.models.model import EvaluatedModel
    from ...evaluation.suite import Evaluation


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
    """Fine-tune and score encoders under one protocol; writes OUT/results.json and .html, and prints a table.

    Example: cmbert evaluate runs/mine bert-base-uncased --task ncbi-disease --set data=NCBI-disease-IOB

    After an interruption the same command continues with the seed that was interrupted.
    """
    labels = short_names(models)
    evaluations = load_tasks(task, overrides)
    check_all(_checks(models, evaluations, out))

    from rich.console import Console

    from ...evaluation.scores.optional_dependencies import import_packages
    from ...evaluation.suite import packages

    import_packages({name for evaluation in evaluations for name in packages(evaluation)})

    from ...evaluation.comparison import as_json, claims, compare_models, comparison_table
    from ...evaluation.results import evaluate as results_of
    from ...evaluation.results import table, write_summary
    from ...evaluation.tasks.code_plot import plot_codes
    from ...evaluation.tasks.code_structure import CodesTask
    from ...storage.files import atomic_write
    from ..results.page import write_results

    opened = [open_any(address, name) for address, name in zip(_located(models), labels, strict=True)]
    results = []
    for result in results_of(opened, evaluations, seeds, out):
        score, value = next(iter(result.scores.items()))
        typer.echo(f"{result.task}  {result.model}  seed {result.seed}  {score} {value:.4f}")
        results.append(result)
    console = Console()
    for name, scores_of in write_summary(results, out).items():
        console.print(table(name, scores_of))
    comparisons = compare_models(results)
    if len(opened) > 1:
        console.print(comparison_table(comparisons))
        for sentence in claims(comparisons):
            typer.echo(sentence)
        atomic_write(out / "comparison.json", json.dumps(as_json(comparisons), indent=1) + "\n")
    for evaluation in evaluations:
        if isinstance(evaluation.task, CodesTask):
            figure = out / f"{evaluation.name}.png"
            plot_codes(opened, evaluation.task, evaluation.data, evaluation.protocol.tokens, figure)
            typer.echo(f"plot     {figure}")
    page, latex = write_results(results, comparisons, out)
    typer.echo(f"results  {out / 'results.json'}")
    typer.echo(f"page     {page}")
    typer.echo(f"LaTeX    {latex}")
    suggest(_next(Path(models[0]), out))


def _next(model: Path, out: Path) -> list[str]:
    """What to do with the model that is named first."""
    from ...training.export.inputs import TRAINING

    if (model / TRAINING).is_file():
        return ["push", str(model), "OWNER/NAME", "--private"]
    if (model / "checkpoints").is_dir() or model.parent.name == "checkpoints":
        return [*export_of(model), "--evaluation", str(out)]
    return ["train", "continue-base", "--set", f"initial_weights={model}", "--set", "data.path=DIRECTORY"]


def load_tasks(names: Sequence[str], overrides: Sequence[str]) -> "list[Evaluation]":
    """Load the files of all tasks; one error reports the mistakes in all of them."""
    files = check_all(partial(locate_recipe, name, TASK) for name in names)

    from ...evaluation.suite import Evaluation

    evaluations = check_all(partial(load, Evaluation, file, overrides) for file in files)
    if len({evaluation.name for evaluation in evaluations}) < len(evaluations):
        raise UserError("two of the tasks have the same name; each needs its own")
    return evaluations


def _checks(models: Sequence[str], evaluations: "Sequence[Evaluation]", out: Path) -> "Iterator[Check]":
    """Everything that the evaluation needs, from cheap to expensive. None of it imports torch or uses a network."""
    from ...evaluation.scores.optional_dependencies import EXTRA
    from ...evaluation.suite import check, packages
    from ...evaluation.tasks.masked_words import MaskedWordsTask, check_same_tokenizer
    from ...evaluation.tasks.needles import NeedlesTask
    from ...storage.preconditions import check_writable

    needed = {name for evaluation in evaluations for name in packages(evaluation)}
    if needed:
        yield lambda: check_packages("the scores of these tasks", EXTRA, needed)
    yield lambda: check_writable(out / "results.json")
    for address in models:
        yield partial(check_model, address)
    for evaluation in evaluations:
        yield partial(check, evaluation)
        if isinstance(evaluation.task, MaskedWordsTask | NeedlesTask) and (evaluation.data / "tokenizer").is_dir():
            for address in models:
                yield partial(check_same_tokenizer, _tokenizer_directory(address), evaluation.data)


def check_model(address: str) -> None:
    """Check that there are the files of a model; UserError if not."""
    if is_run(Path(address)):
        from ...training.export.inputs import check_checkpoint

        check_checkpoint(Path(address))
    else:
        from ...evaluation.models.addresses import check_address

        check_address(address)


def _tokenizer_directory(address: str) -> Path:
    from ...training.checkpoint.manifest import MANIFEST

    path = Path(address)
    run = path.parent.parent if (path / MANIFEST).is_file() else path
    return run / "tokenizer" if is_run(path) else path


def _located(models: Sequence[str]) -> list[str]:
    """The models with those on the Hub replaced by their directories: all are downloaded before one is opened."""
    from ...evaluation.models.addresses import find_model

    return [str(path) for path in check_all(partial(find_model, address) for address in models)]


def is_run(path: Path) -> bool:
    """Whether it is a run or one of its checkpoints."""
    from ...training.checkpoint.manifest import MANIFEST

    return (path / "checkpoints").is_dir() or (path / MANIFEST).is_file()


def open_any(address: str, name: str) -> "EvaluatedModel":
    """Open a run or one of its checkpoints with the run's tokenizer, or else a Hugging Face model."""
    from ...evaluation.models.model import open_model, packed_model
    from ...model.hugging_face import assemble
    from ...training.checkpoint.manifest import read_manifest
    from ...training.checkpoint.save_load import consolidate
    from ...training.export.inputs import find_checkpoint

    path = Path(address)
    if not is_run(path):
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
