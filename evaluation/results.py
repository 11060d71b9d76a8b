"""Results on disk: one file per seed, task and model, so that an evaluation resumes where it was interrupted."""

import hashlib
import json
import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import TypeAdapter
from rich.markup import escape
from rich.table import Table

from ..configs.json_text import read_json
from ..configs.progress import part_of
from ..storage.files import atomic_write, require_writable
from .seed_file import is_complete, read_seed, write_seed
from .suite import Evaluation, Scores, fine_tunes, identity, run

if TYPE_CHECKING:
    from .models.model import EvaluatedModel

_SUMMARY = "results.json"


_SUMMARY_SCHEMA = TypeAdapter(dict[str, dict[str, dict[str, dict[str, Any]]]])
"""Task -> model -> score -> mean, deviation and values."""


class Result(NamedTuple):
    """The scores of one seed."""

    task: str
    model: str
    seed: int
    scores: Scores


def evaluate(
    models: "Sequence[EvaluatedModel]", evaluations: Sequence[Evaluation], seeds: int, out: Path
) -> Iterator[Result]:
    """Run every evaluation whose result is not in `out` yet, and yield each result as soon as it is available."""
    keys = [identity(evaluation) for evaluation in evaluations]
    require_writable(out / _SUMMARY)
    read_summary(out)  # the scores will be added to it
    runs = [
        (model, evaluation, key, seed)
        for evaluation, key in zip(evaluations, keys, strict=True)
        for model in models
        for seed in range(seeds if fine_tunes(evaluation) else 1)
    ]
    for number, (model, evaluation, key, seed) in enumerate(runs, 1):
        with part_of(f"result {number} of {len(runs)}: {evaluation.name}, {model.name}, seed {seed}"):
            result = _result(model, evaluation, key, seed, out / "seeds")
        yield result


def write_summary(results: Iterable[Result], out: Path) -> dict[str, Any]:
    """Write results.json: task -> model -> score -> mean, standard deviation and the value of each seed.

    Other tasks in an existing file are kept. Returns the tasks of these results only.
    """
    summary: dict[str, Any] = {}
    for (task, model, name), values in _by_score(results).items():
        summary.setdefault(task, {}).setdefault(model, {})[name] = {
            "mean": statistics.fmean(values),
            "deviation": deviation(values),
            "values": values,
        }
    out.mkdir(parents=True, exist_ok=True)
    _write(out / _SUMMARY, {**read_summary(out), **summary})
    return summary


def table(task: str, scores_of: dict[str, Any]) -> Table:
    """A task's part of the summary as a table with one row per score and one column per model."""
    result = Table(title=escape(task), title_justify="left")
    result.add_column("")
    for model in scores_of:
        result.add_column(escape(model), justify="right")
    for name in next(iter(scores_of.values())):
        result.add_row(name, *(_cell(scores[name]) for scores in scores_of.values()))
    return result


def deviation(values: Sequence[float]) -> float | None:
    """The sample standard deviation; None for a single value."""
    return statistics.stdev(values) if len(values) > 1 else None


def _cell(score: dict[str, Any]) -> str:
    spread = "" if score["deviation"] is None else f" ± {score['deviation']:.4f}"
    return f"{score['mean']:.4f}{spread}"


def _result(model: "EvaluatedModel", evaluation: Evaluation, key: str, seed: int, directory: Path) -> Result:
    path = directory / f"{evaluation.name}-{_short(model.identity, key, str(model.unpadded))}-{seed}.json"
    if not is_complete(path):
        started = time.monotonic()
        scores = run(model, evaluation, seed)
        facts = {
            "task": evaluation.name,
            "subject": model.name,
            "unpadded": model.unpadded,
            "seed": seed,
            "seconds": round(time.monotonic() - started, 1),
            "weights": model.identity,
            "evaluation": evaluation.model_dump(mode="json", exclude={"data"}),
        }
        write_seed(path, scores, facts)
    return Result(evaluation.name, model.name, seed, read_seed(path))


def _by_score(results: Iterable[Result]) -> dict[tuple[str, str, str], list[float]]:
    values: dict[tuple[str, str, str], list[float]] = {}
    for result in results:
        for name, value in result.scores.items():
            values.setdefault((result.task, result.model, name), []).append(value)
    return values


def read_summary(out: Path) -> dict[str, Any]:
    """The results in `out`, as `write_summary` wrote them; empty if there are none."""
    path = out / _SUMMARY
    return read_json(path, _SUMMARY_SCHEMA, "restore or remove the file") if path.is_file() else {}


def _write(path: Path, content: Any) -> None:
    atomic_write(path, json.dumps(content, indent=1) + "\n")


def _short(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
