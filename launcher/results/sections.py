"""The contents of the results page, section by section, from scores, comparisons and predictions."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ...evaluation.analysis.classes import (
    NOTHING,
    all_examples,
    confusion,
    count_classes,
    micro,
    reliability,
)
from ...evaluation.analysis.examples import length_slices, mistakes, slice_score
from ...evaluation.analysis.predictions import Kind, Run, classes_of, kind_of
from ...evaluation.comparison import ALPHA, Comparison
from ..report.charts import COLORS, Chart, Line, draw
from ..report.downsample import Point
from ..report.tables import ABSENT, Cell, Table, count, percent
from .scores import MeanScore, is_better

_MATRIX_CLASSES = 10
"""A matrix of more classes is a list of the most frequent confusions."""
_MOST_CONFUSIONS = 12
_MOST_CLASSES = 40
_EXCERPT = 240
"""Characters of a text."""
Row = dict[str, Any]


def summary_table(primary: Mapping[str, tuple[str, Mapping[str, MeanScore]]], models: Sequence[str]) -> Table:
    """The first score of each task, a row per task."""
    rows = [[Cell(task, score), *_score_cells(score, cells, models)] for task, (score, cells) in primary.items()]
    return Table(["task", *models], rows, "The first score of each task")


def score_table(scores: Mapping[str, Mapping[str, MeanScore]], models: Sequence[str]) -> Table:
    """All scores of a task, a row per score."""
    present = [model for model in models if any(model in cells for cells in scores.values())]
    rows = [[name, *_score_cells(name, cells, present)] for name, cells in scores.items()]
    return Table(["score", *present], rows)


def _score_cells(score: str, cells: Mapping[str, MeanScore], models: Sequence[str]) -> list[Cell | str]:
    return [_score_cell(score, cells, model) if model in cells else ABSENT for model in models]


def _score_cell(score: str, cells: Mapping[str, MeanScore], model: str) -> Cell:
    one = cells[model]
    best = len(cells) > 1 and not any(is_better(score, other, one) for other in cells.values())
    spread = "" if one.half_width is None else f"± {one.half_width:.4f}"
    return Cell(f"{one.mean:.4f}", spread, strong=best)


def difference_rows(comparisons: Sequence[Comparison]) -> list[Row]:
    """Intervals of the tested differences on one axis, in percent of its width."""
    tested = [comparison for comparison in comparisons if comparison.p is not None]
    reach = 1.1 * max((max(abs(one.difference.low), abs(one.difference.high)) for one in tested), default=1) or 1

    def at(value: float) -> float:
        return round(50 + 50 * value / reach, 2)

    rows = []
    for one in tested:
        difference, low, high, _ = one.difference
        rows.append(
            {
                "models": f"{one.second} − {one.first}",
                "score": one.score,
                "low": at(low),
                "width": round(at(high) - at(low), 2),
                "middle": at(difference),
                "claimed": one.p is not None and one.p < ALPHA and (low > 0 or high < 0),
                "text": f"{difference:+.4f}",
                "interval": f"{low:+.4f} to {high:+.4f}",
                "p": f"p = {one.p:.4f}",
            }
        )
    return rows


def analysis_of(runs_of: Mapping[str, Sequence[Run]], texts: Mapping[str, str]) -> Row | None:
    """What the predictions of a task show; None if there are none.

    Args:
        texts: of the examples by id, to be shown; empty to show none.
    """
    if not runs_of:
        return None
    kind = kind_of(next(iter(runs_of.values()))[0].examples[0])
    return {
        "models": [
            _model_row(model, runs, kind, number, texts) for number, (model, runs) in enumerate(runs_of.items())
        ],
        "calibration": _calibration_chart(runs_of),
        "errors": _calibration_table(runs_of),
        "slices": _slices_table(runs_of, kind),
        "has_classes": kind != "number",
        "examples": len(next(iter(runs_of.values()))[0].examples),
    }


def _model_row(model: str, runs: Sequence[Run], kind: Kind, number: int, texts: Mapping[str, str]) -> Row:
    examples = all_examples(runs)
    classes = classes_of(runs) if kind != "number" else []
    matrix = confusion(examples, classes) if kind in ("class", "spans") else None
    names = [*classes, NOTHING] if kind == "spans" else classes
    small = matrix is not None and len(names) <= _MATRIX_CLASSES
    return {
        "name": model,
        "color": number % COLORS,
        "seeds": len(runs),
        "classes": _class_table(runs, classes) if classes else None,
        "matrix": _matrix_rows(matrix, names) if matrix is not None and small else None,
        "confusions": _confusions_table(matrix, names) if matrix is not None and not small else None,
        "mistakes": _mistakes_table(runs, texts),
    }


def _class_table(runs: Sequence[Run], classes: Sequence[str]) -> Table:
    counts = count_classes(all_examples(runs), classes)
    shown = {name: counts[name] for name in classes[:_MOST_CLASSES]}
    rows: list[list[Cell | str]] = [
        [name, f"{one.precision:.3f}", f"{one.recall:.3f}", f"{one.f1:.3f}", _bar(one.f1),
         count(round((one.correct + one.missed) / len(runs)))]
        for name, one in (shown | {"all (micro)": micro(list(counts.values()))}).items()
    ]  # fmt: skip
    left = f"; the {len(classes) - len(shown):,} rarest are left out" if len(classes) > len(shown) else ""
    seeds = f", all {len(runs)} seeds together" if len(runs) > 1 else ""
    return Table(["class", "precision", "recall", "F1", "", "in test"], rows, f"By class{seeds}{left}", text=[4])


def _bar(share: float) -> Cell:
    return Cell("", color=0, bar=(share, None))


def _matrix_rows(matrix: npt.NDArray[np.int64], names: Sequence[str]) -> Row:
    """Cells of a confusion matrix: the share of a row as text and shade, and the count."""
    totals = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, totals, out=np.zeros(matrix.shape), where=totals > 0)
    return {
        "names": list(names),
        "rows": [
            [
                {
                    "text": f"{100 * share:.0f}" if value else "",
                    "shade": round(float(share), 3),
                    "title": f"{names[at]} predicted as {names[to]}: {value:,} of {int(totals[at, 0]):,}",
                    "right": at == to,
                }
                for to, (share, value) in enumerate(zip(shares[at], matrix[at].tolist(), strict=True))
            ]
            for at in range(len(names))
        ],
    }


def _confusions_table(matrix: npt.NDArray[np.int64], names: Sequence[str]) -> Table:
    wrong = matrix - np.diag(np.diag(matrix))
    order = np.argsort(-wrong, axis=None, kind="stable")[:_MOST_CONFUSIONS]
    pairs = [divmod(int(one), len(names)) for one in order]
    rows = [
        [names[at], names[to], count(int(wrong[at, to])), percent(wrong[at, to] / max(1, matrix[at].sum()))]
        for at, to in pairs
        if wrong[at, to]
    ]
    return Table(["class", "predicted as", "times", "of the class"], rows, "Most frequent confusions", text=[1])


def _calibration_chart(runs_of: Mapping[str, Sequence[Run]]) -> list[Row]:
    lines = []
    for number, (model, runs) in enumerate(runs_of.items()):
        if found := reliability(all_examples(runs)):
            points = [
                Point(100 * x, y, y, y) for x, y in zip(found.confidence.tolist(), found.accuracy.tolist(), strict=True)
            ]
            lines.append(Line(model, points, number % COLORS))
    if not lines:
        return []
    perfect = Line("perfect", [Point(0, 0, 0, 0), Point(100, 1, 1, 1)], planned=True)
    note = (
        "How often predictions are right, by the probability that the model gives them. Below the dashed line it is "
        "too sure, above it too unsure."
    )
    chart = Chart(
        "Reliability",
        [perfect, *lines],
        0,
        100,
        "%",
        axis="probability, %",
        from_zero=True,
        note=note,
        planned_name="perfectly calibrated",
    )
    return [drawing] if (drawing := draw(chart)) else []


def _calibration_table(runs_of: Mapping[str, Sequence[Run]]) -> Table | None:
    rows: list[list[Cell | str]] = []
    for number, (model, runs) in enumerate(runs_of.items()):
        if found := reliability(all_examples(runs)):
            total = found.counts.sum()
            mean, right = (float(values @ found.counts / total) for values in (found.confidence, found.accuracy))
            rows.append([Cell(model, color=number % COLORS), percent(found.error), percent(mean), percent(right)])
    columns = ["model", "ECE", "mean probability", "right"]
    return Table(columns, rows, "Expected calibration error (ECE), in ten bins of equal width") if rows else None


def _slices_table(runs_of: Mapping[str, Sequence[Run]], kind: Kind) -> Table | None:
    slices = length_slices(runs_of)
    if not slices:
        return None
    rows: list[list[Cell | str]] = [
        [Cell(f"{one.low:,} to {one.high:,}", f"{one.examples:,} texts"),
         *(f"{one.scores[model]:.4f}" for model in runs_of)]
        for one in slices
    ]  # fmt: skip
    score = slice_score(kind)
    caption = f"{score[0].upper()}{score[1:]} by quartile of length, in tokens of {next(iter(runs_of))}"
    return Table(["tokens", *runs_of], rows, caption)


def _mistakes_table(runs: Sequence[Run], texts: Mapping[str, str]) -> Table | None:
    rows: list[list[Cell | str]] = []
    for one in mistakes(runs):
        row: list[Cell | str] = [Cell(one.id, code=True), one.wanted or ABSENT, one.found or ABSENT]
        shown = [_excerpt(texts.get(one.id, ""), one.at)] if texts else []
        rows.append([*row, f"{one.wrong} of {one.seeds}", *shown])
    columns = ["id", "missed", "predicted instead", "wrong in seeds", *(["text"] if texts else [])]
    caption = "Examples that are most often wrong" + ("" if texts else ", without their text")
    return Table(columns, rows, caption, text=[1, 2, 4]) if rows else None


def _excerpt(text: str, at: int) -> str:
    """A text from a little before a character; of long ones a part."""
    start = max(0, at - _EXCERPT // 3) if len(text) > _EXCERPT else 0
    part = " ".join(text[start : start + _EXCERPT].split())
    return ("… " if start else "") + part + (" …" if start + _EXCERPT < len(text) else "")
