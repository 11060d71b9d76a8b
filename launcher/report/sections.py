"""The numbers of the page, section by section: from a run's facts to charts and rows of tables."""

from collections.abc import Iterable, Sequence
from itertools import groupby, pairwise
from statistics import fmean, median
from typing import Any

from ...training.recipe.schedule import Plan
from ...training.resilience.exit_codes import REWOUND
from ..runs.status import Start
from .charts import COLOURS, Chart, Line, Mark, draw
from .facts import Facts, state
from .thin import POINTS, Point, bucket_size, thin, turns

_RECENT = 50
_PLANNED_POINTS = 300
_LABELLED = 6
"""More marks than this on a chart go without words."""

Row = dict[str, Any]


def tiles(facts: Facts) -> list[tuple[str, str, str]]:
    """What one asks first: (name, value, remark)."""
    rows, recent = facts.rows, facts.rows[-_RECENT:]
    found = [("state", *state(facts))]
    if rows:
        of = f"of {facts.plan.steps:,}, {facts.step / facts.plan.steps:.1%}" if facts.plan else ""
        found.append(("step", f"{facts.step:,}", of))
        found.append(("tokens", short(rows[-1]["tokens"]), f"{rows[-1]['tokens']:,}"))
        found.append(("loss", f"{fmean(_column(recent, 'loss')):.4f}", f"mean of the last {len(recent)} rows"))
    if facts.validation:
        step, loss = min(validation_means(facts.validation), key=lambda pair: pair[1])
        found.append(("best held-out loss", f"{loss:.4f}", f"mean of sources, step {step:,}"))
    if rows:
        found.append(("speed", f"{short(median(_column(rows, 'tokens_per_second')))} tokens/s", "median of all rows"))
        mfu = _known(_column(rows, "mfu"))
        found.append(("MFU", f"{median(mfu):.1%}" if mfu else "unknown", "median" if mfu else "no published peak"))
    if facts.starts:
        found.append(("starts", f"{len(facts.starts)}", f"{len(facts.skips)} rewinds"))
    if facts.newest:
        found.append(("newest checkpoint", f"step {facts.newest.step:,}", ""))
    return found


def loss_charts(facts: Facts) -> list[Row]:
    rows = facts.rows
    return _drawn(
        _chart(
            facts, "Training loss", [_line(rows, "loss", "loss")], falls=True, marks=_marks(facts), note=_notes(rows)
        ),
        _chart(facts, "Masked tokens predicted", [_line(rows, "accuracy", "share")], "%", marks=_marks(facts, False)),
        _chart(
            facts,
            "Held-out loss",
            _by_source(facts.validation, "loss"),
            falls=True,
            note="At 15 % masking, the same packs each time.",
        ),
        _chart(facts, "Held-out words predicted", _by_source(facts.validation, "word_accuracy"), "%", from_zero=True),
        _chart(
            facts,
            "Gradient norm",
            [_line(rows, "grad_norm", "norm")],
            log=True,
            marks=_marks(facts, False),
            note="Global, before clipping; logarithmic.",
        ),
    )


def schedule_charts(facts: Facts) -> list[Row]:
    """Over the whole plan, so that one sees what is still to come."""
    last = max(facts.plan.steps if facts.plan else 0, facts.step)
    charts = []
    for title, key, unit, level in (
        ("Learning rate", "lr", "", False),
        ("Masking rate", "mlm_probability", "%", False),
        ("Longest sequence", "max_seqlen", "", True),
    ):
        run = Line("run", _levels(facts.rows, key) if level else thin(_steps(facts.rows), _column(facts.rows, key)))
        lines = [run, *([Line("planned", planned(facts.plan, key), planned=True)] if facts.plan else [])]
        charts.append(Chart(title, lines, 1, last, unit, from_zero=True))
    return _drawn(*charts)


def speed_charts(facts: Facts) -> list[Row]:
    rows = facts.rows
    return _drawn(
        _chart(
            facts,
            "Tokens a second",
            [_line(rows, "tokens_per_second", "tokens/s")],
            from_zero=True,
            marks=_marks(facts, False),
        ),
        _chart(facts, "Model FLOPs utilisation", [_line(rows, "mfu", "MFU")], "%", from_zero=True),
        _chart(facts, "Time spent waiting for data", [_line(rows, "data_wait_share", "share")], "%", from_zero=True),
        _chart(
            facts,
            "Peak memory",
            [Line("GiB of rank 0", _levels(rows, "peak_memory"))],
            from_zero=True,
            note="GiB, of rank 0.",
        ),
        _scale_chart(facts),
    )


def mix_chart(facts: Facts) -> list[Row]:
    lines = []
    for at, (source, rows) in enumerate(_sources(facts.mix)):
        share, plan = (thin(_steps(rows), _column(rows, key)) for key in ("share", "planned"))
        lines += [Line(source, share, at % COLOURS), Line(f"{source}, planned", plan, at % COLOURS, planned=True)]
    return _drawn(_chart(facts, "Share of tokens so far", lines, "%", from_zero=True))


def mix_rows(facts: Facts) -> list[Row]:
    """The last row of each source, with what its checkpoint tells of it."""
    known = facts.newest.sources if facts.newest else {}
    return [
        {
            **rows[-1],
            "colour": at % COLOURS,
            "licence": known[source].licence if source in known else "",
            "synthetic": known[source].synthetic if source in known else None,
        }
        for at, (source, rows) in enumerate(_sources(facts.mix))
    ]


def validation_rows(facts: Facts) -> list[Row]:
    """First, best and last of each source."""
    return [
        {
            "source": source,
            "colour": at % COLOURS,
            "first": rows[0],
            "best": min(rows, key=lambda row: row["loss"]),
            "last": rows[-1],
        }
        for at, (source, rows) in enumerate(_sources(facts.validation))
    ]


def validation_means(validation: Iterable[Row]) -> list[tuple[int, float]]:
    """(step, mean over sources) of each time it was measured."""
    by_step = groupby(validation, key=lambda row: row["step"])
    return [(step, fmean(row["loss"] for row in rows)) for step, rows in by_step]


def planned(plan: Plan, key: str) -> list[Point]:
    """What the plan says for a setting, at its turns, just before them, and between."""
    steps = {settings.step for settings in plan.change_points()}
    steps |= {step - 1 for step in steps if step}
    steps |= {round(part * (plan.steps - 1) / _PLANNED_POINTS) for part in range(_PLANNED_POINTS + 1)}
    values = [(step + 1, getattr(plan.settings(step), key)) for step in sorted(steps)]
    return [Point(step, value, value, value) for step, value in values]


def step_seconds(rows: Sequence[Row]) -> float:
    """What the steps of `rows` took, from their tokens and speeds."""
    return sum(
        (row["tokens"] - before) / row["tokens_per_second"]
        for before, row in zip([0, *_column(rows, "tokens")], rows, strict=False)
        if row["tokens_per_second"]
    )


def short(number: float) -> str:
    """At most four digits and a letter."""
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if number >= size * 10 or (number >= size and size > 1e3):
            return f"{number / size:.3g} {letter}" if number < 999.5 * size else f"{number / size:,.0f} {letter}"
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def _chart(facts: Facts, title: str, lines: list[Line], unit: str = "", **more: Any) -> Chart:
    first = facts.rows[0]["step"] if facts.rows else 1
    return Chart(title, lines, first, max(facts.step, first), unit, **more)


def _scale_chart(facts: Facts) -> Chart:
    """Of fp16; a level line says nothing, so it is left out."""
    scales = _column(facts.rows, "loss_scale")
    lines = [Line("scale", _levels(facts.rows, "loss_scale"))] if len(set(scales)) > 1 else []
    return _chart(facts, "Loss scale of fp16", lines, log=True)


def _line(rows: Sequence[Row], key: str, name: str) -> Line:
    return Line(name, thin(_steps(rows), _column(rows, key)), noisy=True)


def _by_source(rows: Sequence[Row], key: str) -> list[Line]:
    return [
        Line(source, thin(_steps(of), _column(of, key), POINTS // 2), at % COLOURS)
        for at, (source, of) in enumerate(_sources(row for row in rows if row[key] is not None))
    ]


def _levels(rows: Sequence[Row], key: str) -> list[Point]:
    known = [(row["step"], row[key]) for row in rows if row.get(key) is not None]
    return turns([step for step, _ in known], [value for _, value in known])


def _marks(facts: Facts, words: bool = True) -> list[Mark]:
    """Where sequences became longer, and where the run went on after an interruption."""
    stages = [
        Mark(row["step"], f"{row['max_seqlen']:,}" if words else "", "stage")
        for before, row in pairwise(facts.rows)
        if row["max_seqlen"] != before["max_seqlen"]
    ]
    starts = [(before, start) for before, start in pairwise(facts.starts) if start.step is not None]
    few = words and len(starts) <= _LABELLED
    resumes = [
        Mark((start.step or 0) + 0.5, *_why(before, few)) for before, start in starts if (start.step or 0) < facts.step
    ]
    return stages + resumes


def _why(before: Start, words: bool) -> tuple[str, str]:
    """Label and kind of the mark where a start went on after the one `before`."""
    label, kind = ("rewound", "rewind") if before.code == REWOUND else ("resumed", "resume")
    return label if words else "", kind


def _notes(rows: Sequence[Row]) -> str:
    size = bucket_size(len(rows))
    strong = (
        f"The line is the mean of {size} rows at a time, the band reaches from their least to their greatest."
        if size > 1
        else "The strong line is smoothed."
    )
    stages = len(set(_column(rows, "max_seqlen"))) > 1
    return f"Nats a masked token. {strong}{' At grey lines sequences became as long as they say.' if stages else ''}"


def _drawn(*charts: Chart) -> list[Row]:
    return [drawing for chart in charts if (drawing := draw(chart))]


def _sources(rows: Iterable[Row]) -> list[tuple[str, list[Row]]]:
    """The rows of each source, in the order in which sources come."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["source"], []).append(row)
    return list(found.items())


def _steps(rows: Iterable[Row]) -> list[int]:
    return [row["step"] for row in rows]


def _column(rows: Iterable[Row], key: str) -> list[Any]:
    """Of an older run that had no such column: nothing known."""
    return [row.get(key) for row in rows]


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]
