"""The results of an evaluation: one self-contained HTML page, and a LaTeX table."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ...evaluation.analysis.predictions import Run, read_runs
from ...evaluation.bias.report import Probes
from ...evaluation.comparison import Comparison, claims
from ...evaluation.results import Result
from ...storage.files import atomic_write, stage_file
from ..report.rendering import render_template
from .latex import latex_table
from .probes import probe_tables
from .scores import LEVEL, MeanScore, scores_of
from .sections import analysis_of, difference_rows, score_table, summary_table

_DIRECTORY = Path(__file__).parent
PAGE = "results.html"
TABLE = "results.tex"


Texts = Mapping[str, Mapping[str, str]]
"""By task, the texts of examples by id."""
_NONE: Mapping[str, Any] = MappingProxyType({})


def write_results(
    results: Sequence[Result],
    comparisons: Sequence[Comparison],
    out: Path,
    probes: Probes = _NONE,
    texts: Texts = _NONE,
) -> tuple[Path, Path]:
    """Write `results.html` and `results.tex` to the directory of an evaluation, and return their paths.

    Args:
        probes: comparisons of groups of the tasks that probe bias.
        texts: to be shown with mistakes, on a page that only its owner can read. Without them the page has no text of
            the data: examples have ids and positions.
    Raises:
        UserError: a file of predictions is not as it was written.
    """
    page, table = out / PAGE, out / TABLE
    with stage_file(page) as staging:
        staging.touch(0o600 if texts else 0o666)
        staging.write_text(_render(results, comparisons, out, probes, texts), encoding="utf-8")
    atomic_write(table, latex_table(_primary(scores_of(results)), claims(comparisons)))
    return page, table


def _render(
    results: Sequence[Result], comparisons: Sequence[Comparison], out: Path, probes: Probes, texts: Texts
) -> str:
    scores = scores_of(results)
    models = list(dict.fromkeys(result.model for result in results))
    tasks = []
    for task, task_scores in scores.items():
        own = [comparison for comparison in comparisons if comparison.task == task]
        tasks.append(
            {
                "name": task,
                "scores": score_table(task_scores, models),
                "differences": difference_rows(own),
                "claims": _claims_of(task, comparisons),
                "probes": probe_tables(probes.get(task, {})),
                "analysis": analysis_of(_runs(results, task, models, out), texts.get(task, {})),
            }
        )
    return render_template(
        "results.html",
        _DIRECTORY,
        title=out.resolve().name,
        where=out,
        level=f"{100 * LEVEL:.0f} %",
        tiles=_tiles(results, comparisons, models),
        summary=summary_table(_primary(scores), models) if len(tasks) > 1 else None,
        tasks=tasks,
    )


def _claims_of(task: str, comparisons: Sequence[Comparison]) -> list[str]:
    """The sentences of a task without its name; they say how many tests there were in all."""
    tested = [comparison for comparison in comparisons if comparison.p is not None]
    return [
        sentence.removeprefix(f"{task}: ")
        for one, sentence in zip(tested, claims(comparisons), strict=True)
        if one.task == task
    ]


def _primary(scores: dict[str, dict[str, dict[str, MeanScore]]]) -> dict[str, tuple[str, dict[str, MeanScore]]]:
    return {task: next(iter(task_scores.items())) for task, task_scores in scores.items()}


def _runs(results: Sequence[Result], task: str, models: Sequence[str], out: Path) -> dict[str, list[Run]]:
    """The predictions of each model that has some."""
    found = {}
    for model in models:
        seeds = {result.seed: result.scores for result in results if (result.task, result.model) == (task, model)}
        if runs := read_runs(out / "seeds", task, model, seeds):
            found[model] = runs
    return found


def _tiles(results: Sequence[Result], comparisons: Sequence[Comparison], models: Sequence[str]) -> list[Any]:
    tasks = {result.task for result in results}
    seeds = {result.seed for result in results}
    tested = [comparison for comparison in comparisons if comparison.p is not None]
    tiles = [
        ("models", str(len(models)), ""),
        ("tasks", str(len(tasks)), ""),
        ("seeds", str(len(seeds)), "at most, per task"),
    ]
    if tested:
        claimed = sum("can be claimed" not in sentence for sentence in claims(comparisons))
        tiles.append(("differences claimed", f"{claimed} of {len(tested)}", "after Holm's correction"))
    return tiles
