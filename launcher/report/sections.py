"""The contents of the report, section by section: charts and table rows from the data of a run."""

from collections.abc import Iterable, Sequence
from itertools import groupby, pairwise
from statistics import fmean, median
from typing import Any

from ...training.recipe.schedule import Plan
from ...training.resilience.exit_codes import REWOUND
from ..runs.status import Attempt
from .charts import COLORS, Chart, Line, Marker, draw
from .downsample import POINTS, Point, bucket_size, downsample, level_changes
from .run_data import RunData, state

_RECENT_ROWS = 50
_PLANNED_POINTS = 300
_MAX_LABELS = 6
"""A chart with more markers than this shows them without labels."""

Row = dict[str, Any]


def tiles(run: RunData) -> list[tuple[str, str, str]]:
    """Return the key values of the run: (name, value, remark)."""
    rows, recent = run.rows, run.rows[-_RECENT_ROWS:]
    values = [("state", *state(run))]
    if rows:
        total = f"of {run.plan.steps:,}, {run.step / run.plan.steps:.1%}" if run.plan else ""
        values.append(("step", f"{run.step:,}", total))
        values.append(("tokens", short(rows[-1]["tokens"]), f"{rows[-1]['tokens']:,}"))
        values.append(("loss", f"{fmean(_column(recent, 'loss')):.4f}", f"mean of the last {len(recent)} rows"))
    if run.validation:
        step, loss = min(validation_means(run.validation), key=lambda pair: pair[1])
        values.append(("best validation loss", f"{loss:.4f}", f"mean over sources, step {step:,}"))
    if rows:
        values.append(("speed", f"{short(median(_column(rows, 'tokens_per_second')))} tokens/s", "median of all rows"))
        mfu = _known(_column(rows, "mfu"))
        values.append(("MFU", f"{median(mfu):.1%}" if mfu else "unknown", "median" if mfu else "peak FLOPs unknown"))
    if run.attempts:
        values.append(("attempts", f"{len(run.attempts)}", f"{len(run.skips)} rewinds"))
    if run.newest_manifest:
        values.append(("newest checkpoint", f"step {run.newest_manifest.step:,}", ""))
    return values


def loss_charts(run: RunData) -> list[Row]:
    rows = run.rows
    return _draw_all(
        _chart(
            run,
            "Training loss",
            [_line(rows, "loss", "loss")],
            clip_start=True,
            markers=_markers(run),
            note=_notes(rows),
        ),
        _chart(run, "Masked-token accuracy", [_line(rows, "accuracy", "share")], "%", markers=_markers(run, False)),
        _chart(
            run,
            "Validation loss",
            _by_source(run.validation, "loss"),
            clip_start=True,
            note="At 15 % masking, on the same packs each time.",
        ),
        _chart(run, "Validation word accuracy", _by_source(run.validation, "word_accuracy"), "%", from_zero=True),
        _chart(
            run,
            "Gradient norm",
            [_line(rows, "grad_norm", "norm")],
            log=True,
            markers=_markers(run, False),
            note="Global norm before clipping, on a logarithmic scale.",
        ),
    )


def schedule_charts(run: RunData) -> list[Row]:
    """Charts over all planned steps, including future ones."""
    last = max(run.plan.steps if run.plan else 0, run.step)
    charts = []
    for title, key, unit, piecewise_constant in (
        ("Learning rate", "lr", "", False),
        ("Masking rate", "mlm_probability", "%", False),
        ("Maximum sequence length", "max_seqlen", "", True),
    ):
        if piecewise_constant:
            points = _piecewise_constant(run.rows, key)
        else:
            points = downsample(_steps(run.rows), _column(run.rows, key))
        lines = [Line("run", points), *([Line("planned", planned(run.plan, key), planned=True)] if run.plan else [])]
        charts.append(Chart(title, lines, 1, last, unit, from_zero=True))
    return _draw_all(*charts)


def speed_charts(run: RunData) -> list[Row]:
    rows = run.rows
    return _draw_all(
        _chart(
            run,
            "Tokens per second",
            [_line(rows, "tokens_per_second", "tokens/s")],
            from_zero=True,
            markers=_markers(run, False),
        ),
        _chart(run, "Model FLOPs utilization", [_line(rows, "mfu", "MFU")], "%", from_zero=True),
        _chart(run, "Share of time waiting for data", [_line(rows, "data_wait_share", "share")], "%", from_zero=True),
        _chart(
            run,
            "Peak memory",
            [Line("GiB on rank 0", _piecewise_constant(rows, "peak_memory"))],
            from_zero=True,
            note="GiB on rank 0.",
        ),
        _ranks_chart(run),
        _scale_chart(run),
    )


def mix_chart(run: RunData) -> list[Row]:
    lines = []
    for at, (source, rows) in enumerate(_sources(run.mix)):
        share, plan = (downsample(_steps(rows), _column(rows, key)) for key in ("share", "planned"))
        lines += [Line(source, share, at % COLORS), Line(f"{source}, planned", plan, at % COLORS, planned=True)]
    return _draw_all(_chart(run, "Cumulative share of tokens", lines, "%", from_zero=True))


def mix_rows(run: RunData) -> list[Row]:
    """Return the last row of each source, with its license from the newest checkpoint."""
    known = run.newest_manifest.sources if run.newest_manifest else {}
    return [
        {
            **rows[-1],
            "color": at % COLORS,
            "licence": known[source].licence if source in known else "",
            "synthetic": known[source].synthetic if source in known else None,
        }
        for at, (source, rows) in enumerate(_sources(run.mix))
    ]


def validation_rows(run: RunData) -> list[Row]:
    """Return the first, best and last validation row of each source."""
    return [
        {
            "source": source,
            "color": at % COLORS,
            "first": rows[0],
            "best": min(rows, key=lambda row: row["loss"]),
            "last": rows[-1],
        }
        for at, (source, rows) in enumerate(_sources(run.validation))
    ]


def validation_means(validation: Iterable[Row]) -> list[tuple[int, float]]:
    """Return (step, mean loss over sources) of each validation."""
    by_step = groupby(validation, key=lambda row: row["step"])
    return [(step, fmean(row["loss"] for row in rows)) for step, rows in by_step]


def planned(plan: Plan, key: str) -> list[Point]:
    """Return the planned values of a setting: at its changes, just before them, and at regular steps."""
    steps = {settings.step for settings in plan.change_points()}
    steps |= {step - 1 for step in steps if step}
    steps |= {round(part * (plan.steps - 1) / _PLANNED_POINTS) for part in range(_PLANNED_POINTS + 1)}
    values = [(step + 1, getattr(plan.settings(step), key)) for step in sorted(steps)]
    return [Point(step, value, value, value) for step, value in values]


def step_seconds(rows: Sequence[Row]) -> float:
    """Return the total duration of the steps in `rows`, from their tokens and speeds."""
    return sum(
        (row["tokens"] - before) / row["tokens_per_second"]
        for before, row in zip([0, *_column(rows, "tokens")], rows, strict=False)
        if row["tokens_per_second"]
    )


def short(number: float) -> str:
    """Format a number with at most four digits and a unit letter."""
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= size * 10 or (number >= size and size > 1e3):
            return f"{number / size:.3g} {letter}" if number < 999.5 * size else f"{number / size:,.0f} {letter}"
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def _chart(run: RunData, title: str, lines: list[Line], unit: str = "", **more: Any) -> Chart:
    first = run.rows[0]["step"] if run.rows else 1
    return Chart(title, lines, first, max(run.step, first), unit, **more)


def _ranks_chart(run: RunData) -> Chart:
    lines = [
        Line(name, downsample(_steps(run.stragglers), _column(run.stragglers, key)), at)
        for at, (name, key) in enumerate((("slowest rank", "seconds"), ("median rank", "median")))
        if run.stragglers
    ]
    note = "Seconds per step that a rank needs itself, for its data and computing, without waiting for other ranks."
    return _chart(run, "Slowest and median rank", lines, from_zero=True, note=note)


def _scale_chart(run: RunData) -> Chart:
    """The loss scale of fp16; empty if it never changed."""
    scales = _column(run.rows, "loss_scale")
    lines = [Line("scale", _piecewise_constant(run.rows, "loss_scale"))] if len(set(scales)) > 1 else []
    return _chart(run, "Loss scale (fp16)", lines, log=True)


def _line(rows: Sequence[Row], key: str, name: str) -> Line:
    return Line(name, downsample(_steps(rows), _column(rows, key)), noisy=True)


def _by_source(rows: Sequence[Row], key: str) -> list[Line]:
    return [
        Line(source, downsample(_steps(points), _column(points, key), POINTS // 2), at % COLORS)
        for at, (source, points) in enumerate(_sources(row for row in rows if row[key] is not None))
    ]


def _piecewise_constant(rows: Sequence[Row], key: str) -> list[Point]:
    known = [(row["step"], row[key]) for row in rows if row.get(key) is not None]
    return level_changes([step for step, _ in known], [value for _, value in known])


def _markers(run: RunData, labels: bool = True) -> list[Marker]:
    """Mark where sequences became longer, and where the run resumed after an interruption."""
    stages = [
        Marker(row["step"], f"{row['max_seqlen']:,}" if labels else "", "stage")
        for before, row in pairwise(run.rows)
        if row["max_seqlen"] != before["max_seqlen"]
    ]
    resumed = [(before, attempt) for before, attempt in pairwise(run.attempts) if attempt.step is not None]
    with_labels = labels and len(resumed) <= _MAX_LABELS
    resumes = [
        Marker((attempt.step or 0) + 0.5, *_resume_label(before, with_labels))
        for before, attempt in resumed
        if (attempt.step or 0) < run.step
    ]
    return stages + resumes


def _resume_label(before: Attempt, with_label: bool) -> tuple[str, str]:
    """Return the label and kind of the marker for the attempt that followed `before`."""
    label, kind = ("rewound", "rewind") if before.code == REWOUND else ("resumed", "resume")
    return label if with_label else "", kind


def _notes(rows: Sequence[Row]) -> str:
    size = bucket_size(len(rows))
    line = (
        f"Each point of the line is the mean of {size} rows; the band spans their least to greatest value."
        if size > 1
        else "The strong line is a moving average."
    )
    stages = len(set(_column(rows, "max_seqlen"))) > 1
    return f"Nats per masked token. {line}{' Gray lines mark a new maximum sequence length.' if stages else ''}"


def _draw_all(*charts: Chart) -> list[Row]:
    return [drawing for chart in charts if (drawing := draw(chart))]


def _sources(rows: Iterable[Row]) -> list[tuple[str, list[Row]]]:
    """Group rows by source, in order of first appearance."""
    by_source: dict[str, list[Row]] = {}
    for row in rows:
        by_source.setdefault(row["source"], []).append(row)
    return list(by_source.items())


def _steps(rows: Iterable[Row]) -> list[int]:
    return [row["step"] for row in rows]


def _column(rows: Iterable[Row], key: str) -> list[Any]:
    """Return one column; None where the metrics of an older run lack it."""
    return [row.get(key) for row in rows]


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]
