"""`cmbert compare-recipes`: which of two recipes is better, by pairs of runs."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from ...configs.errors import UserError
from ...configs.loader.load import load, locate_recipe
from ...configs.loader.recipes import TASK, TRAINING
from ...configs.preconditions import Check, check_all, check_packages
from ...configs.reporting import suggest
from ..interface import completion
from ..interface.next_steps import same_command
from ..interface.options import Overrides, Recipe

if TYPE_CHECKING:
    from ...evaluation.suite import Evaluation
    from ...training.recipe.config import RunConfig
    from .arms import Arm
    from .runs import ArmRun, Scores

_HELD_OUT = """\
# Masked words in all held-out packs of the recipes' data.
name: masked-words
data: {data}
task: {{kind: masked_words, packs: all, draws: 3}}
"""


def compare_recipes(
    recipe: Recipe,
    other: Annotated[
        str, typer.Argument(help="The recipe to compare it with.", autocompletion=completion.recipes(TRAINING))
    ],
    out: Annotated[Path, typer.Option(help="Directory of all runs, and of the page. It may hold this comparison.")],
    seeds: Annotated[int, typer.Option(help="Pairs of runs; each pair has its own seed.", min=2)] = 5,
    equal: Annotated[
        Literal["tokens", "flops"], typer.Option(help="What each run of either recipe has the same amount of.")
    ] = "tokens",
    tokens: Annotated[
        int | None, typer.Option(help="Tokens of a run; schedules move in proportion. Default: the recipe's.", min=1)
    ] = None,
    task: Annotated[
        list[str],
        typer.Option(
            help="Name of a task or your own YAML file. Default: masked words in all held-out packs, masked 3 times.",
            autocompletion=completion.recipes(TASK),
        ),
    ] = [],  # noqa: B006 - typer copies it
    claim: Annotated[
        list[str],
        typer.Option(help="The scores of which claims are made, such as 'masked-words * top1'. Default: all."),
    ] = [],  # noqa: B006
    overrides: Overrides = [],  # noqa: B006
    fine_tuning_seeds: Annotated[int, typer.Option(help="Fine-tuning runs per task and run.", min=1)] = 1,
    half_width: Annotated[
        float, typer.Option(help="The precision for which the page gives the number of pairs.", min=1e-9)
    ] = 0.005,
    ranks: Annotated[int, typer.Option(help="Processes of each run.", min=1)] = 1,
    jobs: Annotated[int, typer.Option(help="Runs at a time, on CPUs.", min=1)] = 1,
) -> None:
    """Train two recipes with the same seeds, score all runs, and write what may be claimed to OUT/comparison.md.

    Example: cmbert compare-recipes proof mine.yaml --out runs/comparison --seeds 5 --jobs 2

    After an interruption the same command continues; finished runs are not repeated. More seeds may be added later.
    """
    from .arms import make_arms

    recipes = [recipe, other]
    configs = check_all(partial(_load, name, overrides) for name in recipes)
    arms = make_arms(recipes, configs, equal, tokens, ranks)
    evaluations, files = _tasks(task, arms, out)
    check_all(_checks(arms, evaluations, ranks, out))

    from .page import PAGE, Comparison, write_page
    from .record import alone, begin, make_record
    from .runs import execute, make_runs

    with alone(out):
        record = begin(out, make_record(arms, evaluations, equal, fine_tuning_seeds, claim), seeds)
        _write_held_out(task, arms, out)
        names = [evaluation.name for evaluation in evaluations]
        numbers = [arms[0].config.seed + index for index in range(seeds)]
        runs = make_runs(arms, numbers, list(zip(names, files, strict=True)), out, ranks, fine_tuning_seeds)

        def write() -> list[str]:
            return write_page(out, Comparison(arms, record, _pairs(runs, names), half_width))

        def finished(run: "ArmRun") -> None:
            for name, scores in (run.scores(names) or {}).items():
                score, value = next(iter(scores.items()))
                typer.echo(f"{run.name}  {name}  {score} {value:.4f}")
            write()

        if code := execute(runs, jobs, ranks, finished):
            suggest(same_command())
            raise typer.Exit(code)
        for sentence in write():
            typer.echo(sentence.replace("**", ""))
    typer.echo(f"page     {out / PAGE}")
    suggest(["report", *(str(run.directory) for run in runs[:2]), "--out", str(out / "curves.html")])


def _load(recipe: str, overrides: Sequence[str]) -> "RunConfig":
    from ...training.recipe.config import RunConfig

    return load(RunConfig, locate_recipe(recipe, TRAINING), overrides)


def _tasks(names: Sequence[str], arms: "Sequence[Arm]", out: Path) -> "tuple[list[Evaluation], list[str]]":
    """The evaluations, and by what `cmbert evaluate --task` opens each."""
    from ...evaluation.suite import Evaluation
    from ...storage.remote import is_remote
    from ..evaluation.tasks import load_tasks

    if names:
        return load_tasks(names, []), list(names)
    data = arms[0].config.data.path
    if is_remote(data):
        raise UserError(
            f"{data}: held-out packs are scored from a local data set: name tasks with --task, or download the data"
        )
    content = {"kind": "masked_words", "packs": "all", "draws": 3}
    task = Evaluation.model_validate({"name": "masked-words", "data": data, "task": content})
    return [task], [str(_held_out_file(out))]


def _held_out_file(out: Path) -> Path:
    return out / "masked-words.yaml"


def _write_held_out(names: Sequence[str], arms: "Sequence[Arm]", out: Path) -> None:
    """Write the task that is scored where none is named."""
    import json

    from ...storage.files import atomic_write

    if not names:
        atomic_write(_held_out_file(out), _HELD_OUT.format(data=json.dumps(arms[0].config.data.path)))


def _checks(arms: "Sequence[Arm]", evaluations: "Sequence[Evaluation]", ranks: int, out: Path) -> Iterator[Check]:
    """Everything that the first run, or the last evaluation, would find."""
    from ...evaluation.scores.optional_dependencies import EXTRA
    from ...evaluation.suite import check, packages
    from ...storage.preconditions import check_writable
    from ...training.recipe.limits import limits
    from .record import RECORD

    needed = {"scipy", *(name for evaluation in evaluations for name in packages(evaluation))}
    yield lambda: check_packages("comparing recipes", EXTRA, needed)
    for arm in arms:
        yield from limits(arm.config, ranks)
    for evaluation in evaluations:
        yield partial(check, evaluation)
    yield lambda: check_writable(out / RECORD)


def _pairs(runs: "Sequence[ArmRun]", tasks: Sequence[str]) -> "dict[int, tuple[Scores, Scores]]":
    """Seed -> scores of both arms, of the pairs that are complete."""
    pairs = {}
    for first, second in zip(runs[::2], runs[1::2], strict=True):
        scores = first.scores(tasks), second.scores(tasks)
        if scores[0] is not None and scores[1] is not None:
            pairs[first.seed] = (scores[0], scores[1])
    return pairs
