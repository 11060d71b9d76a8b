"""Results at rest: a file for each seed of each task and subject, so that what was done is never done again."""

import hashlib
import json
import os
import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rich.markup import escape
from rich.table import Table

from ..configs.errors import UserError
from ..storage.files import require_writable
from .models.model import Subject
from .suite import Evaluation, Scores, identity, learns, run

_SUMMARY = "results.json"


class Result(NamedTuple):
    """One seed's scores."""

    task: str
    subject: str
    seed: int
    scores: Scores


def evaluate(subjects: Sequence[Subject], evaluations: Sequence[Evaluation], seeds: int, out: Path) -> Iterator[Result]:
    """Run what `out` does not hold yet, and yield every result as it is there."""
    keys = [identity(evaluation) for evaluation in evaluations]
    require_writable(out / _SUMMARY)
    for evaluation, key in zip(evaluations, keys, strict=True):
        for subject in subjects:
            for seed in range(seeds if learns(evaluation) else 1):
                yield _result(subject, evaluation, key, seed, out / "seeds")


def write_summary(results: Iterable[Result], out: Path) -> dict[str, Any]:
    """results.json: task -> subject -> score -> mean, standard deviation and the value of each seed.

    Returns the tasks of these results; what the file says of others it goes on saying.
    """
    summary: dict[str, Any] = {}
    for (task, subject, name), values in _by_score(results).items():
        summary.setdefault(task, {}).setdefault(subject, {})[name] = {
            "mean": statistics.fmean(values),
            "deviation": deviation(values),
            "values": values,
        }
    out.mkdir(parents=True, exist_ok=True)
    path = out / _SUMMARY
    _write(path, {**(_read(path) if path.is_file() else {}), **summary})
    return summary


def table(task: str, scores_of: dict[str, Any]) -> Table:
    """A task's part of the summary: a row a score, a column a subject."""
    shown = Table(title=escape(task), title_justify="left")
    shown.add_column("")
    for subject in scores_of:
        shown.add_column(escape(subject), justify="right")
    for name in next(iter(scores_of.values())):
        shown.add_row(name, *(_cell(scores[name]) for scores in scores_of.values()))
    return shown


def deviation(values: Sequence[float]) -> float | None:
    """The sample's standard deviation; of one value there is none."""
    return statistics.stdev(values) if len(values) > 1 else None


def _cell(score: dict[str, Any]) -> str:
    spread = "" if score["deviation"] is None else f" ± {score['deviation']:.4f}"
    return f"{score['mean']:.4f}{spread}"


def _result(subject: Subject, evaluation: Evaluation, key: str, seed: int, directory: Path) -> Result:
    path = directory / f"{evaluation.name}-{_short(subject.identity, key, str(subject.unpadded))}-{seed}.json"
    if not path.is_file():
        started = time.monotonic()
        scores = run(subject, evaluation, seed)
        directory.mkdir(parents=True, exist_ok=True)
        facts = {
            "task": evaluation.name,
            "subject": subject.name,
            "unpadded": subject.unpadded,
            "seed": seed,
            "scores": scores,
            "seconds": round(time.monotonic() - started, 1),
            "weights": subject.identity,
            "evaluation": evaluation.model_dump(mode="json", exclude={"data"}),
        }
        _write(path, facts)
    return Result(evaluation.name, subject.name, seed, _read(path)["scores"])


def _by_score(results: Iterable[Result]) -> dict[tuple[str, str, str], list[float]]:
    values: dict[tuple[str, str, str], list[float]] = {}
    for result in results:
        for name, value in result.scores.items():
            values.setdefault((result.task, result.subject, name), []).append(value)
    return values


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: damaged; remove it, and what it held is run again") from error
    return content


def _write(path: Path, content: Any) -> None:
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    aside.replace(path)


def _short(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
