"""Results on disk: one file per seed, task and model, so that an evaluation resumes where it was interrupted."""

import hashlib
import json
import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import TypeAdapter
from rich.markup import escape
from rich.table import Table

from ..configs.errors import UserError
from ..configs.json_text import read_json
from ..configs.preconditions import check_all
from ..configs.progress import part_of
from ..storage.files import atomic_write, require_writable
from .fine_tuning.fine_tuned import FineTuned
from .saved_embedder import save_embedder
from .saved_model import save_fine_tuned
from .saved_settings import read_settings
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
    models: "Sequence[EvaluatedModel]", evaluations: Sequence[Evaluation], seeds: int, out: Path, *, keep: bool = False
) -> Iterator[Result]:
    """Run every evaluation whose result is not in `out` yet, and yield each result as soon as it is available.

    Args:
        keep: whether the fine-tuned models of the one model are kept, in `saved_directory`.
    Raises:
        UserError: a model that another model, task or protocol gave is in its place.
    """
    keys = [identity(evaluation) for evaluation in evaluations]
    require_writable(out / _SUMMARY)
    read_summary(out)  # the scores will be added to it
    runs = [
        (model, evaluation, key, seed)
        for evaluation, key in zip(evaluations, keys, strict=True)
        for model in models
        for seed in range(seeds if fine_tunes(evaluation) else 1)
    ]
    if keep:
        check_all(partial(_check_saved, out, *run) for run in runs)
    for number, (model, evaluation, key, seed) in enumerate(runs, 1):
        with part_of(f"result {number} of {len(runs)}: {evaluation.name}, {model.name}, seed {seed}"):
            result = _result(model, evaluation, key, seed, out, keep)
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


def saved_directory(out: Path, task: str, seed: int) -> Path:
    """Where the fine-tuned model of a seed is kept."""
    return out / f"{task}-{seed}"


def _result(model: "EvaluatedModel", evaluation: Evaluation, key: str, seed: int, out: Path, keep: bool) -> Result:
    identity = _identity(model, key)
    path = out / "seeds" / f"{evaluation.name}-{identity}-{seed}.json"
    kept = saved_directory(out, evaluation.name, seed)
    if not is_complete(path) or (keep and not kept.exists()):
        started = time.monotonic()
        outcome = run(model, evaluation, seed)
        facts = {
            "task": evaluation.name,
            "subject": model.name,
            "unpadded": model.unpadded,
            "seed": seed,
            "seconds": round(time.monotonic() - started, 1),
            "weights": model.identity,
            "evaluation": evaluation.model_dump(mode="json", exclude={"data"}),
        }
        if keep:
            save = save_fine_tuned if isinstance(outcome.fine_tuned, FineTuned) else save_embedder
            save(outcome, evaluation, model.name, seed, identity, kept)
        write_seed(path, outcome.scores, outcome.records, facts)
    return Result(evaluation.name, model.name, seed, read_seed(path))


def _check_saved(out: Path, model: "EvaluatedModel", evaluation: Evaluation, key: str, seed: int) -> None:
    """Raise UserError if the model in this place is another one."""
    directory = saved_directory(out, evaluation.name, seed)
    if directory.exists() and read_settings(directory).identity != _identity(model, key):
        raise UserError(
            f"{directory}: holds a model of other weights, data or settings; remove it, or choose another --out"
        )


def _identity(model: "EvaluatedModel", key: str) -> str:
    """Of a result: what it was computed from."""
    return _short(model.identity, key, str(model.unpadded))


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
