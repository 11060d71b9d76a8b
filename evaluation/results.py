"""Results on disk: one file per seed, task and model, so that an evaluation resumes where it was interrupted."""

import hashlib
import json
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
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
from .fine_tuning.state import state_directory
from .saved_embedder import save_embedder
from .saved_model import save_fine_tuned
from .saved_settings import read_settings
from .seed_file import is_complete, read_seed, write_seed
from .suite import Evaluation, Scores, fine_tunes, identity, run, trains_head
from .workers import work_in_processes

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


class _Run(NamedTuple):
    """One seed of a task and a model, and the number of that model."""

    number: int
    model: str
    evaluation: Evaluation
    identity: str
    seed: int
    out: Path
    keep: bool

    def path(self) -> Path:
        return self.out / "seeds" / f"{self.evaluation.name}-{self.identity}-{self.seed}.json"

    def kept(self) -> Path:
        return saved_directory(self.out, self.evaluation.name, self.seed)

    def is_complete(self) -> bool:
        return is_complete(self.path()) and not (self.keep and not self.kept().exists())


def evaluate(
    models: "Sequence[EvaluatedModel]",
    evaluations: Sequence[Evaluation],
    seeds: int,
    out: Path,
    *,
    keep: bool = False,
    workers: int = 1,
    open_model: "Callable[[int], EvaluatedModel] | None" = None,
) -> Iterator[Result]:
    """Run every evaluation whose result is not in `out` yet, and yield each result as soon as it is available.

    Args:
        keep: whether the fine-tuned models of the one model are kept, in `saved_directory`.
        workers: processes that compute results; with several, results are yielded when all are there.
        open_model: opens one of the models, by its number, in another process; needed for several workers.
    Raises:
        UserError: a model that another model, task or protocol gave is in its place.
    """
    keys = [identity(evaluation) for evaluation in evaluations]
    require_writable(out / _SUMMARY)
    read_summary(out)  # the scores will be added to it
    runs = [
        _Run(number, model.name, evaluation, _identity(model, evaluation, key), seed, out, keep)
        for evaluation, key in zip(evaluations, keys, strict=True)
        for number, model in enumerate(models)
        for seed in range(seeds if fine_tunes(evaluation) else 1)
    ]
    if keep:
        check_all(partial(_check_saved, run) for run in runs)
    if workers > 1 and open_model is not None:
        work_in_processes(_compute, [(r.number, r) for r in runs if not r.is_complete()], open_model, workers)
    for count, one in enumerate(runs, 1):
        if not one.is_complete():
            with part_of(f"result {count} of {len(runs)}: {one.evaluation.name}, {one.model}, seed {one.seed}"):
                _compute(models[one.number], one)
        yield Result(one.evaluation.name, one.model, one.seed, read_seed(one.path()))
    with suppress(OSError):  # it may have states of other settings
        (out / "state").rmdir()


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
    for name in dict.fromkeys(name for scores in scores_of.values() for name in scores):
        # A result of an earlier version may lack a score.
        result.add_row(name, *(_cell(scores[name]) if name in scores else "-" for scores in scores_of.values()))
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


def _compute(model: "EvaluatedModel", one: _Run) -> None:
    """Compute a result, from where an interrupted training of it was, and write its files."""
    evaluation, path = one.evaluation, one.path()
    started = time.monotonic()
    with state_directory(one.out / "state" / path.stem) as states:
        outcome = run(model, evaluation, one.seed, states)
        facts = {
            "task": evaluation.name,
            "subject": model.name,
            "unpadded": model.unpadded,
            "seed": one.seed,
            "seconds": round(time.monotonic() - started, 1),
            "weights": model.identity,
            "evaluation": evaluation.model_dump(mode="json", exclude={"data"}),
        }
        if isinstance(outcome.fine_tuned, FineTuned) and (choice := outcome.fine_tuned.choice) is not None:
            chosen_by = choice.sentence(next(iter(outcome.scores)))
            facts["choice"] = {"chosen_by": chosen_by, **asdict(choice)}
        write_seed(path, outcome.scores, outcome.records, facts)
        if one.keep:  # last, as a model in its place is complete
            save = save_fine_tuned if isinstance(outcome.fine_tuned, FineTuned) else save_embedder
            save(outcome, evaluation, model.name, one.seed, one.identity, one.kept())


def _check_saved(one: _Run) -> None:
    """Raise UserError if the model in this place is another one."""
    directory = one.kept()
    if directory.exists() and read_settings(directory).identity != one.identity:
        raise UserError(
            f"{directory}: holds a model of other weights, data or settings; remove it, or choose another --out"
        )


def _identity(model: "EvaluatedModel", evaluation: Evaluation, key: str) -> str:
    """Of a result: what it was computed from."""
    from .fine_tuning.precision import precision_of

    bf16 = trains_head(evaluation) and precision_of(evaluation.protocol) == "bf16"
    return _short(model.identity, key, str(model.unpadded), *(["bf16"] if bf16 else []))


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
