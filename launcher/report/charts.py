"""Line charts as variables of a template: SVG paths in a view box of 1,000 by 1,000, and label positions in percent.

The view box is stretched to the chart's size; text is laid over it in HTML, so its size is the same on any screen.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .downsample import Point, moving_average

VIEW_BOX = 1000
COLORS = 8
_TICKS = 5
_PADDING = 0.05
_INITIAL_SHARE = 0.04
"""Share of the steps in which a loss falls steeply from its initial value."""


@dataclass(frozen=True)
class Line:
    """One curve.

    Attributes:
        color: index below `COLORS`.
        planned: dashed, behind the others.
        noisy: if each point is one value, points are drawn faint under their moving average.
    """

    name: str
    points: Sequence[Point]
    color: int = 0
    planned: bool = False
    noisy: bool = False


@dataclass(frozen=True)
class Marker:
    """An event at `x`; `kind` is `stage`, `resume` or `rewind`."""

    x: float
    label: str
    kind: str


@dataclass(frozen=True)
class Chart:
    """Curves over the steps `first` to `last`.

    Attributes:
        unit: appended to numbers; `%` takes shares.
        log: whether the vertical axis is logarithmic; values that are not positive are then skipped.
        from_zero: whether the vertical axis begins at 0.
        axis: what the horizontal axis counts.
        clip_start: whether to clip a steep initial fall of the curves; the note then mentions it.
        note: a text below the chart.
        planned_name: what the legend calls dashed lines.
    """

    title: str
    lines: Sequence[Line]
    first: float
    last: float
    unit: str = ""
    axis: str = "step"
    log: bool = False
    from_zero: bool = False
    clip_start: bool = False
    note: str = ""
    markers: Sequence[Marker] = field(default=())
    planned_name: str = "planned"


def draw(chart: Chart) -> dict[str, Any] | None:
    """Return the variables for the template's chart; None if there is nothing to draw."""
    lines = [(line, _drawable(line.points, chart.log)) for line in chart.lines]
    lines = [(line, points) for line, points in lines if points]
    if not lines:
        return None
    points = [point for _, points in lines for point in points]
    high, note = _upper_limit(points, chart)
    low, high = _y_range(points, high, chart)
    xs, ys = _Axis(chart.first, max(chart.last, chart.first + 1)), _Axis(low, high, chart.log)
    planned_first = sorted(lines, key=lambda one: not one[0].planned)
    paths = [path for line, points in planned_first for path in _paths(line, points, xs, ys)]
    return {
        "title": chart.title,
        "note": note,
        "planned_name": chart.planned_name,
        "paths": paths,
        "x_ticks": [(xs.percent(at), label(at)) for at in ticks(xs.low, xs.high) if at == int(at)],
        "y_ticks": [(100 - ys.percent(at), label(at, chart.unit)) for at in _ticks_of(ys)],
        "markers": [(xs.percent(marker.x), marker.label, marker.kind) for marker in chart.markers],
        "legend": [line for line, _ in lines] if len(lines) > 1 else [],
        "values": {
            "range": [xs.low, xs.high],
            "unit": chart.unit,
            "axis": chart.axis,
            "lines": [
                {"name": line.name, "points": [[_short(number) for number in _values(point)] for point in points]}
                for line, points in lines
            ],
        },
    }


@dataclass(frozen=True)
class _Axis:
    low: float
    high: float
    log: bool = False

    def share(self, value: float) -> float:
        """Return the position of `value` on the axis, from 0 to 1."""
        low, high, at = (map(math.log, (self.low, self.high, value))) if self.log else (self.low, self.high, value)
        return (at - low) / (high - low)

    def percent(self, value: float) -> float:
        return round(100 * self.share(value), 2)


def ticks(low: float, high: float, count: int = _TICKS) -> list[float]:
    """Return about `count` round numbers from `low` to `high`."""
    rough = (high - low) / count
    size = 10.0 ** math.floor(math.log10(rough))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough * 0.999)
    numbers = range(math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6) + 1)
    return [round(number * step, 12) for number in numbers]


def label(value: float, unit: str = "") -> str:
    """Format the number of a tick."""
    if unit == "%":
        return f"{round(100 * value, 6):g} %"
    for size, letter in ((1e12, " T"), (1e9, " B"), (1e6, " M"), (1e4, " k")):
        if abs(value) >= size:
            scale = 1e3 if letter == " k" else size
            return f"{value / scale:g}{letter}{unit}"
    return f"{value:,.0f}{unit}" if value >= 1000 else f"{value:g}{unit}"


def _ticks_of(axis: _Axis) -> list[float]:
    if not axis.log:
        return ticks(axis.low, axis.high)
    decades = range(math.floor(math.log10(axis.low)), math.ceil(math.log10(axis.high)) + 1)
    factors = (1, 2, 5) if len(decades) <= 3 else (1,)
    candidates = [factor * 10.0**decade for decade in decades for factor in factors]
    inside = [round(tick, 12) for tick in candidates if axis.low <= tick <= axis.high]
    return inside if len(inside) > 1 else ticks(axis.low, axis.high)


def _drawable(points: Sequence[Point], log: bool) -> Sequence[Point]:
    return [point for point in points if point.low > 0] if log else points


def _upper_limit(points: Sequence[Point], chart: Chart) -> tuple[float, str]:
    """Return the greatest value that the chart must show, and its note."""
    low, high = min(point.low for point in points), max(point.high for point in points)
    start = chart.first + _INITIAL_SHARE * (chart.last - chart.first)
    later = [point.high for point in points if point.x > start]
    if chart.clip_start and later and max(later) - low < (high - low) / 3:
        cut = f"The first steps, from {high:.3g}, are above the range shown."
        return max(later) + (max(later) - low) / 2, f"{chart.note} {cut}".strip()
    return high, chart.note


def _y_range(points: Sequence[Point], high: float, chart: Chart) -> tuple[float, float]:
    low = min(point.low for point in points)
    if chart.log:
        return low / 1.1, high * 1.1
    if chart.from_zero:
        low = min(0.0, low)
    room = (high - low) * _PADDING or abs(high) * _PADDING or 1.0
    return (low if chart.from_zero and low == 0 else low - room), high + room


def _paths(line: Line, points: Sequence[Point], xs: _Axis, ys: _Axis) -> list[dict[str, Any]]:
    def at(x: float, y: float) -> str:
        return f"{VIEW_BOX * xs.share(x):.1f} {VIEW_BOX * (1 - ys.share(y)):.1f}"

    def path(kind: str, coordinates: Sequence[tuple[float, float]], closed: bool = False) -> dict[str, Any]:
        # A single point is a dot: a line of no length with a round cap.
        alone = len(coordinates) == 1
        joined = "L".join(at(x, y) for x, y in coordinates) + ("z" if closed or alone else "")
        return {"kind": f"{kind} dot" if alone else kind, "color": line.color, "d": f"M{joined}"}

    means = [(point.x, point.mean) for point in points]
    if line.planned:
        return [path("planned", means)]
    if any(point.low < point.high for point in points):
        outline = [(point.x, point.high) for point in points] + [(point.x, point.low) for point in reversed(points)]
        return [path("band", outline, closed=True), path("line", means)]
    if not line.noisy or len(points) < 2 * _TICKS:
        return [path("line", means)]
    return [path("faint", means), path("line", moving_average(points, max(1, len(points) // 50)))]


def _values(point: Point) -> tuple[float, ...]:
    return tuple(point) if point.low < point.high else (point.x, point.mean)


def _short(number: float) -> float:
    return float(f"{number:.5g}") if number < 1e5 else round(number)
