"""Hooks of the build: the package for the reference, and pages that fit a phone."""

import re
from html import unescape
from pathlib import Path
from posixpath import dirname, join, normpath
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ROOT / "build" / "rooms" / "clinical_modernbert"
DIAGRAM = re.compile(r'<img alt="[^"]*" src="[^"]*diagrams/([\w-]+\.svg)" />')
TABLE = re.compile(r"<table>.*?</table>", re.DOTALL)
CELL = re.compile(r"<(th|td)(.*?)>(.*?)</\1>", re.DOTALL)
OUTPUT = re.compile(r'<div class="(?:language-text )?highlight"><pre>(.*?)</pre>', re.DOTALL)
LINK = re.compile(r'(<a href="([^":]+)">)([\w./-]+\.md)</a>')
TAG = re.compile(r"<[^>]+>")
TITLES: dict[str, str] = {}
NARROW, PER_COLUMN = 46, 3
"""Characters of a table that fit a phone: the first number, less the second for every column."""


def on_startup(**_: Any) -> None:
    """Link the rooms under the package's name, since all of the root would be searched, .venv too."""
    ROOMS.mkdir(parents=True, exist_ok=True)
    for room in [ROOT / "__init__.py", *(path.parent for path in ROOT.glob("*/__init__.py"))]:
        link = ROOMS / room.name
        link.unlink(missing_ok=True)
        link.symlink_to(room)


def on_page_content(html: str, **_: Any) -> str:
    html = DIAGRAM.sub(_inline, html)
    html = TABLE.sub(_labelled, html)
    return OUTPUT.sub(_measured, html)


def on_env(env: Any, files: Any, **_: Any) -> None:
    """Remember the titles of all pages, up to a colon."""
    pages = [file.page for file in files.documentation_pages() if file.page]
    TITLES.update({page.url: page.title.split(":")[0] for page in pages})


def on_post_page(output: str, page: Any, **_: Any) -> str:
    """Name a link to a page by the page's title. In the repository it shows the name of the file."""

    def titled(link: re.Match[str]) -> str:
        address = normpath(join(dirname(page.url), link[2].partition("#")[0]))
        return f"{link[1]}{TITLES.get(address, link[3])}</a>"

    return LINK.sub(titled, output)


def on_post_build(config: Any) -> None:
    """Remove the pages whose links need the address of the site."""
    for name in ("404.html", "sitemap.xml", "sitemap.xml.gz"):
        (Path(config.site_dir) / name).unlink(missing_ok=True)


def _inline(image: re.Match[str]) -> str:
    """A diagram as a part of the page, where site.css colors it like the page."""
    svg = (ROOT / "docs" / "diagrams" / image[1]).read_text(encoding="utf-8")
    return re.sub(r"\s*<style>.*?</style>", "", svg, flags=re.DOTALL).replace("<svg", '<svg class="diagram"')


def _labelled(table: re.Match[str]) -> str:
    """A table whose long code breaks at separators. One that does not fit a phone gets its headings in every cell,
    since site.css shows its rows there as blocks."""
    text = re.sub(r"(?<=<code>)[^<]{16,}(?=</code>)", _breakable, table[0])
    rows = [CELL.findall(row) for row in re.findall(r"<tr>(.*?)</tr>", text, re.DOTALL)]
    contents = [[content for _, _, content in row] for row in rows]
    longest = [max(map(_longest_word, column)) for column in zip(*contents, strict=True)]
    if sum(longest) + PER_COLUMN * len(longest) <= NARROW:
        return text
    headings = [unescape(TAG.sub("", content)).replace('"', "'") for _, _, content in rows[0]]
    numbers = iter(range(sum(map(len, rows))))

    def label(cell: re.Match[str]) -> str:
        heading = headings[next(numbers) % len(headings)]
        return cell[0] if cell[1] == "th" else f'<td{cell[2]} data-label="{heading}">{cell[3]}</td>'

    return CELL.sub(label, text).replace("<table>", '<table class="blocks">', 1)


def _breakable(code: re.Match[str]) -> str:
    return re.sub(r"(?<=[/_,:=])(?=\w)", "<wbr>", code[0])


def _longest_word(cell: str) -> int:
    """Characters that a line of the cell should have: code that can be broken is not broken into small parts."""
    text = unescape(TAG.sub("", cell.replace("<wbr>", "\0")))
    parts = max(map(len, re.split(r"\s|\0", text)))
    return max(parts, min(20, max(map(len, text.replace("\0", "").split()), default=0)))


def _measured(block: re.Match[str]) -> str:
    """Output in columns, with their number: site.css makes its letters small enough instead of breaking its lines."""
    lines = [line for line in unescape(TAG.sub("", block[1])).splitlines() if re.search(r"\S {2,}\S|──", line)]
    if len(lines) < 3:
        return block[0]
    return block[0].replace("<pre>", f'<pre class="columns" style="--columns: {max(map(len, lines))}">')
