"""What a page of `cmbert report` shows: its text, its curves, and how a browser lays it out."""

import json
import re

MEASURE = """(() => {
  const plot = document.querySelector('.plot'), box = plot.getBoundingClientRect();
  plot.dispatchEvent(new PointerEvent('pointermove', {clientX: box.right - 1, clientY: box.top + 5}));
  // A box whose content is wider than itself scrolls, unless the content is only shown outside it.
  const scrolls = (box) => box.scrollWidth > box.clientWidth + 1 && box.clientWidth > 0
    && (box === document.documentElement || getComputedStyle(box).overflowX !== 'visible');
  return {width: innerWidth, scrolling: [...document.querySelectorAll('*')].filter(scrolls).map((box) => box.tagName),
          background: getComputedStyle(document.body).backgroundColor,
          fetched: performance.getEntriesByType('resource').map((entry) => entry.name),
          hover: document.querySelector('.readout').textContent,
          drawn: [...document.querySelectorAll('path.line')].filter((path) => path.getTotalLength() > 10).length};
})()"""


def text_of(page: str) -> str:
    """Return the visible text, with single spaces."""
    body = re.sub(r"<(script|style).*?</\1>", " ", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", body))


def curves(page: str) -> dict[str, dict[str, list[list[float]]]]:
    """Return {title of the chart: {name of the line: points}}."""
    matches = re.findall(r'<h3>([^<]*)</h3>.*?<script type="application/json">(.*?)</script>', page, re.DOTALL)
    return {title: {line["name"]: line["points"] for line in json.loads(values)["lines"]} for title, values in matches}
