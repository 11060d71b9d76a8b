"""Several runs next to each other: numbers, curves in one color per run, and how the recipes differ."""

import json
from collections.abc import Callable, Iterator, Sequence
from statistics import fmean, median
from typing import Any

from ...configs.loader.tree import Location, Problem, parse, to_values
from ...configs.progress import format_duration
from ...training.export.scores import Scores
from .charts import Chart, Line, draw
from .downsample import downsample
from .run_data import RunData, state
from .sections import short, step_seconds, validation_means
from .tables import ABSENT, Cell, Table, count, percent, score, score_tables

_RECENT_ROWS = 50
_SAME_PACE = 0.01
"""Runs whose tokens per step differ by more than this share are compared by tokens."""
_MOST_SOURCES = 6
_MOST_IN_TITLE = 3
_OWN = "run_dir"
"""The key that differs between all runs."""

Row = dict[str, Any]
Values = Callable[[RunData], tuple[Sequence[float], Sequence[float | None]]]
"""Returns positions and values of a run's curve."""


def variables(runs: Sequence[RunData]) -> dict[str, Any]:
    """Return the variables of the template."""
    names = short_names(runs)
    axis = common_axis(runs)
    configs = [_keys_of(run) for run in runs]
    unreadable = [name for name, config in zip(names, configs, strict=True) if config is None]
    return {
        "title": ", ".join(names) if len(names) <= _MOST_IN_TITLE else f"{names[0]} and {len(names) - 1} others",
        "runs": [_head(run, name, color) for color, (run, name) in enumerate(zip(runs, names, strict=True))],
        "in_progress": any(run.in_progress for run in runs),
        "results": [_results(runs, names), _speed(runs, names)],
        "notes": [f"The config.yaml of {name} is missing or cannot be read." for name in unreadable],
        "differences": _differences(names, configs),
        "axis": "tokens, because the runs differ in tokens per step" if axis == "tokens" else "steps",
        "sections": _sections(runs, names, axis),
        "scores": score_tables(_merged_scores(runs, names)),
    }


def short_names(runs: Sequence[RunData]) -> list[str]:
    """Return the names of the directories, or their paths where two names would be equal."""
    names = [run.run_dir.resolve().name for run in runs]
    return [name if names.count(name) == 1 else str(run.run_dir) for name, run in zip(names, runs, strict=True)]


def common_axis(runs: Sequence[RunData]) -> str:
    """Return `step`, or `tokens` for runs that differ in tokens per step."""
    paces = [run.rows[-1]["tokens"] / run.step for run in runs if run.rows]
    return "tokens" if paces and max(paces) > (1 + _SAME_PACE) * min(paces) else "step"


def differing_keys(configs: Sequence[dict[str, str]]) -> dict[str, list[str | None]]:
    """Return the keys whose values differ, each with its value in each configuration; None where it is absent."""
    keys = dict.fromkeys(key for config in configs for key in config if key != _OWN)
    values = {key: [config.get(key) for config in configs] for key in keys}
    return {key: found for key, found in values.items() if len(set(found)) > 1}


def _head(run: RunData, name: str, color: int) -> Row:
    total = f" of {run.plan.steps:,}" if run.plan else ""
    left = f", {format_duration(run.seconds_left)} left" if run.in_progress and run.seconds_left is not None else ""
    return {
        "name": name,
        "color": color,
        "state": state(run)[0],
        "progress": f"step {run.step:,}{total}{left}",
        "share": min(1.0, run.step / run.plan.steps) if run.plan else None,
    }


def _results(runs: Sequence[RunData], names: Sequence[str]) -> Table:
    """Return losses at the end, and at the last position that all runs have reached."""
    axis = common_axis(runs)
    reached = min((run.rows[-1][axis] for run in runs if run.rows), default=0)
    common = f"loss at {short(reached)} tokens" if axis == "tokens" else f"loss at step {reached:,}"
    rows: list[list[Cell | str]] = []
    for color, (run, name) in enumerate(zip(runs, names, strict=True)):
        last = run.rows[-1] if run.rows else {}
        means = validation_means(run.validation)
        best = min(means, key=lambda pair: pair[1], default=None)
        before = [row for row in run.rows if row[axis] <= reached]
        rows.append(
            [
                Cell(name, color=color),
                count(last.get("step")),
                short(last["tokens"]) if last else ABSENT,
                score(_recent_mean(run.rows)),
                score(_recent_mean(before)),
                percent(last.get("accuracy")),
                Cell(score(best[1]), f"step {best[0]:,}") if best else ABSENT,
                score(means[-1][1]) if means else ABSENT,
            ]
        )
    columns = ["run", "step", "tokens", "loss", common, "accuracy", "best validation loss", "last validation loss"]
    return Table(columns, rows, f"Losses are means of the last {_RECENT_ROWS} rows; validation is a mean over sources")


def _speed(runs: Sequence[RunData], names: Sequence[str]) -> Table:
    rows: list[list[Cell | str]] = []
    for color, (run, name) in enumerate(zip(runs, names, strict=True)):
        speeds = [row["tokens_per_second"] for row in run.rows]
        mfu = [row["mfu"] for row in run.rows if row.get("mfu") is not None]
        rows.append(
            [
                Cell(name, color=color),
                short(median(speeds)) if speeds else ABSENT,
                percent(median(mfu)) if mfu else ABSENT,
                format_duration(step_seconds(run.rows)) if run.rows else ABSENT,
                f"{run.rows[-1]['peak_memory']:.2f}" if run.rows else ABSENT,
                count(len(run.attempts)),
                count(len(run.skips)),
                f"step {run.newest_manifest.step:,}" if run.newest_manifest else ABSENT,
            ]
        )
    columns = ["run", "tokens/s", "MFU", "time of steps", "peak GiB", "attempts", "rewinds", "newest checkpoint"]
    return Table(columns, rows, "Speeds are medians of all rows")


def _recent_mean(rows: Sequence[Row]) -> float | None:
    recent = rows[-_RECENT_ROWS:]
    return fmean(row["loss"] for row in recent) if recent else None


def _differences(names: Sequence[str], configs: Sequence[dict[str, str] | None]) -> Table:
    known = [(name, config) for name, config in zip(names, configs, strict=True) if config is not None]
    differing = differing_keys([config for _, config in known])
    rows = [[key, *(ABSENT if value is None else value for value in values)] for key, values in differing.items()]
    return Table(["key", *(name for name, _ in known)], rows, text=range(1, 1 + len(known)))


def _keys_of(run: RunData) -> dict[str, str] | None:
    """Return {dotted key: value in JSON} of a run's config.yaml; None if it is missing or not YAML."""
    problems: list[Problem] = []
    tree = parse(run.config, lambda line: Location("config.yaml", line), problems) if run.config else None
    values = to_values(tree) if tree else None
    return dict(flatten(values)) if isinstance(values, dict) else None


def flatten(section: dict[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Yield the dotted key and the value, in JSON unless it is text, of every value in nested sections."""
    for key, value in section.items():
        if isinstance(value, dict) and value:
            yield from flatten(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value if isinstance(value, str) else json.dumps(value)


def _sections(runs: Sequence[RunData], names: Sequence[str], axis: str) -> list[tuple[str, list[Row]]]:
    def chart(title: str, values: Values, unit: str = "", noisy: bool = False, **more: Any) -> Row | None:
        points = [downsample(*values(run)) for run in runs]
        lines = [
            Line(name, one, color, noisy=noisy) for color, (name, one) in enumerate(zip(names, points, strict=True))
        ]
        ends = [row[axis] for run in runs for row in (run.rows[:1] + run.rows[-1:])]
        return draw(Chart(title, lines, min(ends, default=0), max(ends, default=1), unit, axis, **more))

    def logged(key: str) -> Values:
        return lambda run: ([row[axis] for row in run.rows], [row.get(key) for row in run.rows])

    def validation(source: str | None = None) -> Values:
        return lambda run: _validation(run, axis, source)

    sources = list(dict.fromkeys(row["source"] for run in runs for row in run.validation))
    by_source = sources if 1 < len(sources) <= _MOST_SOURCES else []
    return [
        (name, [drawing for drawing in drawings if drawing])
        for name, drawings in (
            (
                "Training",
                [
                    chart("Training loss", logged("loss"), noisy=True, clip_start=True),
                    chart("Masked-token accuracy", logged("accuracy"), "%", noisy=True),
                    chart("Validation loss, mean over sources", validation(), clip_start=True),
                    *(chart(f"Validation loss of {one}", validation(one)) for one in by_source),
                    chart("Gradient norm", logged("grad_norm"), noisy=True, log=True),
                ],
            ),
            (
                "Schedules",
                [
                    chart("Learning rate", logged("lr"), from_zero=True),
                    chart("Masking rate", logged("mlm_probability"), "%", from_zero=True),
                    chart("Maximum sequence length", logged("max_seqlen"), from_zero=True),
                ],
            ),
            (
                "Speed",
                [
                    chart("Tokens per second", logged("tokens_per_second"), noisy=True, from_zero=True),
                    chart("Model FLOPs utilization", logged("mfu"), "%", noisy=True, from_zero=True),
                    chart("Share of time waiting for data", logged("data_wait_share"), "%", noisy=True, from_zero=True),
                    chart("Peak memory, GiB on rank 0", logged("peak_memory"), from_zero=True),
                ],
            ),
        )
    ]


def _validation(run: RunData, axis: str, source: str | None = None) -> tuple[list[float], list[float | None]]:
    """Return positions and losses of the validations of one source, or of their mean over sources."""
    position = {row["step"]: row[axis] for row in run.rows}
    rows = [row for row in run.validation if source in (None, row["source"])]
    known = [(position[step], loss) for step, loss in validation_means(rows) if step in position]
    return [at for at, _ in known], [loss for _, loss in known]


def _merged_scores(runs: Sequence[RunData], names: Sequence[str]) -> Scores:
    """Return the results of all runs. Of a model that two runs scored differently, the later has the run's name too."""
    merged: Scores = {}
    for run, name in zip(runs, names, strict=True):
        for task, models in run.results.items():
            known = merged.setdefault(task, {})
            for model, scores in models.items():
                known[model if known.get(model, scores) == scores else f"{model} of {name}"] = scores
    return merged
