"""`cmbert evaluate`: benchmark runs, exported models, or any Hugging Face encoder."""

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...configs.loader.recipes import SUITE
from ...configs.preconditions import check_all
from ...configs.reporting import suggest
from ..interface import completion
from ..interface.next_steps import export_of
from ..interface.options import TaskOverrides, Tasks
from .inputs import checks, locate, open_any, open_numbered, short_names
from .tasks import load_tasks

if TYPE_CHECKING:
    from ...evaluation.bias.findings import Finding


def evaluate(
    models: Annotated[
        list[str],
        typer.Argument(
            help="Runs, exported models, Hugging Face directories or names on the Hub.", autocompletion=completion.runs
        ),
    ],
    task: Tasks = [],  # noqa: B006 - typer copies it
    suite: Annotated[
        str | None,
        typer.Option(
            help="Name of a suite of tasks, such as blurb, or your own YAML file: those whose files are in --data.",
            autocompletion=completion.recipes(SUITE),
        ),
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Directory of the directories of a suite's files.")] = None,
    overrides: TaskOverrides = [],  # noqa: B006 - typer copies it
    seeds: Annotated[int, typer.Option(help="Fine-tuning runs per task.", min=1)] = 5,
    out: Annotated[Path, typer.Option(help="Results directory; finished results in it are reused.")] = Path(
        "runs/evaluation"
    ),
    workers: Annotated[
        int, typer.Option(help="Processes that compute results at the same time, each on its own GPU.", min=1)
    ] = 1,
    show_texts: Annotated[
        bool,
        typer.Option(
            "--show-texts", help="Show the texts of mistakes on the page; it then holds text of the data, for you only."
        ),
    ] = False,
) -> None:
    """Fine-tune and score encoders under one protocol; writes OUT/results.json and .html, and prints a table.

    Example: cmbert evaluate runs/mine bert-base-uncased --task ncbi-disease --set data=NCBI-disease-IOB

    After an interruption the same command continues, inside a training too.
    """
    labels = short_names(models)
    evaluations = load_tasks(task, overrides, suite, data)
    check_all(checks(models, evaluations, out))

    from rich.console import Console

    from ...evaluation.scores.optional_dependencies import import_packages
    from ...evaluation.suite import packages

    import_packages({name for evaluation in evaluations for name in packages(evaluation)})

    from ...evaluation.bias.findings import findings, summarized
    from ...evaluation.bias.findings import sentence as finding_of
    from ...evaluation.bias.report import probe_table, write_probes
    from ...evaluation.comparison import as_json, claims, compare_models, comparison_table
    from ...evaluation.results import evaluate as results_of
    from ...evaluation.results import table, write_summary
    from ...evaluation.tasks.code_plot import plot_codes
    from ...evaluation.tasks.code_structure import CodesTask
    from ...evaluation.texts import texts_of_test
    from ...storage.files import atomic_write
    from ..results.page import write_results

    addresses = locate(models)
    opened = [open_any(address, name) for address, name in zip(addresses, labels, strict=True)]
    again = partial(open_numbered, addresses, labels)
    results = []
    for result in results_of(opened, evaluations, seeds, out, workers=workers, open_model=again):
        score, value = next(iter(result.scores.items()))
        typer.echo(f"{result.task}  {result.model}  seed {result.seed}  {score} {value:.4f}")
        results.append(result)
    probes: dict[str, dict[str, list[Finding]]] = {}
    for result in results:
        if found := findings(result.scores):
            probes.setdefault(result.task, {})[result.model] = found
    results = [result._replace(scores=summarized(result.scores)) for result in results]
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
    for name, found_of in probes.items():
        for model, found in found_of.items():
            console.print(probe_table(name, model, found))
            typer.echo(f"{name}: {model}: {finding_of(found)}")
    if probes:
        typer.echo(f"bias     {write_probes(probes, out)}")
    texts = {one.name: texts_of_test(one) for one in evaluations} if show_texts else {}
    page, latex = write_results(results, comparisons, out, probes, texts)
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
