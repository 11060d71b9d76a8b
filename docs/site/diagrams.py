"""Draw the diagrams: docs/diagrams/NAME.yaml to NAME.svg.

    python docs/site/diagrams.py

A file has a `title` and `rows`, from top to bottom. A row of boxes is a list; a box is its lines, separated by `|`, of
which the first is bold, and `*` at its beginning fills it; a list in a row stacks boxes. A row of arrows is a text that
begins with ↓, ↑ or ↕ and may have a label, or a list of such texts. Text in backquotes is code. `links` are arrows
next to the rows, and a `frame` surrounds rows; both count the rows from 0.

A drawing is narrow, so that its text can be read on a phone. In a page of the site, site.css gives its colors;
elsewhere its own style does.
"""

import re
import textwrap
from html import escape
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).resolve().parents[1] / "diagrams"
WIDTH, MARGIN, SIDE = 480, 6, 30
GAP, LINE, PADDING, ARROW = 10, 18, 9, 30
STYLE = """\
  <style>
    svg { --ink: #1f2328; --line: #57606a; --box: #f2f5f7; --fill: #d3ece8; }
    @media (prefers-color-scheme: dark) { svg { --ink: #e6edf3; --line: #9aa5b1; --box: #23282f; --fill: #1d4a45; } }
    text { font: 13px system-ui, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; fill: var(--ink); }
    .title { font-weight: 600; }
    .code { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; font-size: 12px; }
    rect { fill: var(--box); stroke: var(--line); }
    .filled { fill: var(--fill); }
    .frame, path { fill: none; stroke: var(--line); stroke-width: 1.3; }
    .frame { stroke-dasharray: 4 4; }
    .head { fill: var(--line); stroke: none; }
  </style>
"""


def draw(diagram: dict[str, Any]) -> str:
    """Return a diagram as SVG."""
    links, frames = diagram.get("links", []), diagram.get("frames", [])
    sides = {link.get("side", "left") for link in links}
    left = MARGIN + SIDE * ("left" in sides or bool(frames))
    right = WIDTH - MARGIN - SIDE * ("right" in sides)
    rows, tops, y = diagram["rows"], [], float(MARGIN)
    marks: list[str] = []
    for number, row in enumerate(rows):
        before, after = (_columns(rows[at]) if 0 <= at < len(rows) else 1 for at in (number - 1, number + 1))
        if _is_arrows(row):
            height = float(max(ARROW, *(LINE * len(text.split("|")) + 8 for text in _listed(row))))
            marks += _arrows(_listed(row), max(before, after), left, right, y, y + height)
        else:
            height = max(_height(box) for box in _listed(row))
            marks += _boxes(_listed(row), left, right, y, height)
            if number + 1 < len(rows) and not _is_arrows(rows[number + 1]):
                height += GAP
        tops.append((y, y + height))
        y += height
    marks = [mark for frame in frames for mark in _frame(frame, tops, right)] + marks
    for link in links:
        marks += _link(link, tops, left, right)
    body = textwrap.indent("\n".join(marks), "  ")
    title = escape(diagram["title"])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y + MARGIN:g}">\n'
        f"  <title>{title}</title>\n{STYLE}{body}\n</svg>\n"
    )


def _listed(row: Any) -> list[Any]:
    return row if isinstance(row, list) else [row]


def _is_arrows(row: Any) -> bool:
    first = _listed(row)[0]
    return isinstance(first, str) and first[0] in "↓↑↕"


def _columns(row: Any) -> int:
    return len(_listed(row))


def _height(box: Any) -> float:
    if isinstance(box, list):
        return sum(map(_height, box)) + GAP * (len(box) - 1)
    return float(LINE * len(box.split("|")) + 2 * PADDING)


def _boxes(boxes: list[Any], left: float, right: float, y: float, height: float) -> list[str]:
    width = (right - left - GAP * (len(boxes) - 1)) / len(boxes)
    marks = []
    for number, box in enumerate(boxes):
        x = left + number * (width + GAP)
        if isinstance(box, list):
            spare = (height - _height(box)) / len(box)
            top = y
            for part in box:
                marks += _boxes([part], x, x + width, top, _height(part) + spare)
                top += _height(part) + spare + GAP
            continue
        kind = ' class="filled"' if box.startswith("*") else ""
        marks.append(f'<rect{kind} x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="5"/>')
        lines = box.lstrip("*").split("|")
        first = y + (height - LINE * len(lines)) / 2 + 13
        for at, line in enumerate(lines):
            marks.append(_text(line.strip(), x + width / 2, first + LINE * at, "middle", bold=at == 0))
    return marks


def _arrows(texts: list[str], count: int, left: float, right: float, y: float, end: float) -> list[str]:
    count = max(count, len(texts))
    step = (right - left + GAP) / count
    centers = [left + (step - GAP) / 2 + step * number for number in range(count)]
    if count == 1 and len(texts[0]) > 1:  # most of the width for the label
        centers = [left + (right - left) / 6]
    marks = []
    for number, x in enumerate(centers):
        sign = texts[number if len(texts) == count else 0][0]
        start, stop = y + 2 + 6 * (sign in "↑↕"), end - 2 - 6 * (sign in "↓↕")
        marks.append(f'<path d="M{x:g} {start:g}V{stop:g}"/>')
        if sign in "↓↕":
            marks.append(_head(x, end - 2, 1))
        if sign in "↑↕":
            marks.append(_head(x, y + 2, -1))
    # One label for an even number of arrows is between the two in the middle.
    between = len(texts) == 1 and count % 2 == 0
    labelled = [(left + right) / 2 - 10] if between else [centers[count // 2]] if len(texts) == 1 else centers
    for text, x in zip(texts, labelled, strict=True):
        lines = text[1:].split("|")
        top = (y + end) / 2 - LINE * len(lines) / 2 + 13
        for at, line in enumerate(lines):
            if line.strip():
                anchor = "middle" if between else "start"
                marks.append(_text(line.strip(), x + 10, top + LINE * at, anchor))
    return marks


def _frame(frame: dict[str, Any], tops: list[tuple[float, float]], right: float) -> list[str]:
    """A dashed line around rows, and its text in the left margin, from bottom to top."""
    first, last = frame["rows"]
    top, bottom = tops[first][0] - 4, tops[last][1] + 4
    width, x, y = right + 4 - MARGIN, MARGIN + 18, (top + bottom) / 2
    return [
        f'<rect class="frame" x="{MARGIN}" y="{top:g}" width="{width:g}" height="{bottom - top:g}" rx="6"/>',
        f'<text transform="translate({x:g} {y:g}) rotate(-90)" text-anchor="middle">{escape(frame["text"])}</text>',
    ]


def _link(link: dict[str, Any], tops: list[tuple[float, float]], left: float, right: float) -> list[str]:
    """An arrow from the side of one row to that of another."""
    on_left = link.get("side", "left") == "left"
    edge, sign = (left, -1) if on_left else (right, 1)
    start, end = (sum(tops[link[name]]) / 2 for name in ("from", "to"))
    outer = edge + sign * (SIDE - 12)
    head = f'<path class="head" d="M{edge + sign * 1:g} {end:g}l{sign * 8} -4v8z"/>'
    return [f'<path d="M{edge:g} {start:g}H{outer:g}V{end:g}H{edge + sign * 8:g}"/>', head]


def _head(x: float, y: float, sign: int) -> str:
    return f'<path class="head" d="M{x:g} {y:g}l-4 {-8 * sign}h8z"/>'


def _text(text: str, x: float, y: float, anchor: str, bold: bool = False) -> str:
    inner = re.sub(r"`([^`]+)`", r'<tspan class="code">\1</tspan>', escape(text, quote=False))
    kind = ' class="title"' if bold else ""
    return f'<text{kind} x="{x:g}" y="{y:g}" text-anchor="{anchor}">{inner}</text>'


if __name__ == "__main__":
    for path in sorted(FOLDER.glob("*.yaml")):
        path.with_suffix(".svg").write_text(draw(yaml.safe_load(path.read_text(encoding="utf-8"))), encoding="utf-8")
