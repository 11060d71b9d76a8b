"""The built site, opened from the disk in a real browser, on a wide screen and on a phone."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from browser import find_browser
from devtools import Tab, new_tab

pytestmark = [pytest.mark.servers, pytest.mark.slow]

WIDTHS = {"wide": 1280, "phone": 390}
SCREENSHOTS = {"index": "wide", "installation": "phone", "kernels": "wide", "launching": "phone"}
SCROLLING = """(() => {
  const boxes = [document.scrollingElement, ...document.body.querySelectorAll("*")];
  return boxes.filter((box) => {
    if (!(box instanceof HTMLElement) || !box.clientWidth) return false;
    const over = box.scrollWidth - box.clientWidth;
    if (box === document.scrollingElement) return over > 0;
    const kind = getComputedStyle(box).overflowX;
    if (kind === "auto" || kind === "scroll") return over > 0;
    // Whatever else cuts or leaves its box; the padding of code at the end of a line does, by a few pixels.
    return box.closest("article") !== null && over > 4;
  }).map((box) => `${box.tagName}.${box.className}: ${box.scrollWidth} > ${box.clientWidth}`);
})()"""
"""Boxes that scroll horizontally or do not hold their content."""
RAW_MARKDOWN = r"""(() => {
  const page = (document.querySelector("article") ?? document.body).cloneNode(true);
  page.querySelectorAll("pre, code, style, script").forEach((part) => part.remove());
  return page.innerText.match(/```|~~~|\*\*|title="|^#+ |^\|.*\|$|\]\([^)]*\)|:::|\{\.|^!!!/gm) ?? [];
})()"""
"""Marks of Markdown that were shown instead of rendered."""
TEXT_OUTSIDE_BOXES = """(() => [...document.querySelectorAll("svg.diagram")].flatMap((svg) => {
  const bounds = (part) => part.getBoundingClientRect(), whole = bounds(svg);
  const boxes = [...svg.querySelectorAll("rect")].map(bounds);
  return [...svg.querySelectorAll("text")].filter((text) => {
    const at = bounds(text), middle = (at.top + at.bottom) / 2;
    const cut = (box) => middle > box.top && middle < box.bottom && at.left < box.right && at.right > box.left
      && (at.left < box.left || at.right > box.right);
    return at.left < whole.left || at.right > whole.right || boxes.some(cut);
  }).map((text) => text.textContent);
}))()"""
"""Texts of diagrams that leave the drawing or cross the border of a box."""


@pytest.fixture(scope="module")
def site(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it."""
    pytest.importorskip("material", reason="the site's theme is not installed; `make docs` installs it")
    directory = tmp_path_factory.mktemp("site")
    ended = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", directory],
        cwd=repository,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    return directory


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    if find_browser() is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    with new_tab(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


def faults(tab: Tab, page: Path, width: int) -> list[str]:
    """What is wrong with a page at this width."""
    tab.open(page, width)
    outside = [address for address in tab.requests if urlsplit(address).scheme not in ("file", "data", "blob", "about")]
    return [
        *(f"scrolls: {box}" for box in tab.run(SCROLLING)),
        *(f"raw Markdown: {mark}" for mark in tab.run(RAW_MARKDOWN)),
        *(f"diagram: {text}" for text in tab.run(TEXT_OUTSIDE_BOXES)),
        *(f"console: {message}" for message in tab.problems),
        *(f"request: {address}" for address in outside),
    ]


@pytest.mark.parametrize("screen", WIDTHS)
def test_pages_are_sound(site: Path, tab: Tab, screen: str, repository: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) == len(list(repository.glob("docs/**/*.md")))
    found = {}
    kept = repository / "build" / "screenshots"
    kept.mkdir(parents=True, exist_ok=True)
    for page in pages:
        if problems := faults(tab, page, WIDTHS[screen]):
            found[str(page.relative_to(site))] = problems
        if page.parent == site and SCREENSHOTS.get(page.stem) == screen:
            tab.screenshot(kept / f"{page.stem}-{screen}.png")
    assert found == {}


BAD = {
    "a wide table": ("<div style='overflow: auto'><table><td>" + "<td>cell" * 400 + "</table></div>", "scrolls: DIV"),
    "long code": ("<pre style='overflow: auto'>" + "word " * 400 + "</pre>", "scrolls: PRE"),
    "a wide page": ("<div style='width: 2000px'>x</div>", "scrolls: HTML"),
    "cut text": ("<article><div style='overflow: hidden'><p>" + "x" * 400 + "</div></article>", "scrolls: DIV"),
    "a fence": ("<p>```yaml title='x'</p>", "raw Markdown: ```"),
    "a table as text": ("<p>| a | b |</p>", "raw Markdown: | a | b |"),
    "bold as text": ("<p>**never**</p>", "raw Markdown: **"),
    "a script error": ("<script>missing()</script>", "console: ReferenceError"),
    "an error message": ("<script>console.error('no')</script>", "console: ['no']"),
    "a missing file": ("<img src='missing.png'>", "console: net::ERR_FILE_NOT_FOUND"),
    "a request": ("<img src='https://cdn.invalid/x.png'>", "request: https://cdn.invalid/x.png"),
    "a label in a diagram": (
        "<svg class='diagram'><rect width='30' height='30'/><text y='20'>a wide label</text></svg>",
        "diagram: a wide label",
    ),
}


@pytest.mark.parametrize("content", BAD)
def test_a_bad_page_is_detected(tab: Tab, tmp_path: Path, content: str) -> None:
    (tmp_path / "good.html").write_text("<!doctype html><p>Nothing <code>**wrong**</code> here.</p>")
    assert faults(tab, tmp_path / "good.html", 390) == []
    body, expected = BAD[content]
    (tmp_path / "bad.html").write_text(f"<!doctype html>{body}")
    found = faults(tab, tmp_path / "bad.html", 390)
    assert any(fault.startswith(expected) for fault in found), found


def test_code_has_its_title_and_a_button(site: Path, tab: Tab, repository: Path) -> None:
    checked = 0
    for source in repository.glob("docs/*.md"):
        titles = re.findall(r'^```\w+ title="([^"]+)"$', source.read_text(encoding="utf-8"), re.MULTILINE)
        if not titles:
            continue
        tab.open(site / f"{source.stem if source.stem != 'README' else 'index'}.html", 1280)
        assert tab.run("[...document.querySelectorAll('.filename')].map((name) => name.textContent)") == titles
        assert tab.wait("document.querySelectorAll('.highlight button').length") == tab.run(
            "document.querySelectorAll('.highlight pre > code').length"
        )
        checked += len(titles)
    assert checked >= 9


def test_search_finds_a_page(site: Path, tab: Tab) -> None:
    tab.open(site / "decisions" / "index.html", 1280)
    tab.run(
        """(() => {
          const field = document.querySelector("input.md-search__input");
          field.focus();
          field.value = "preemption";
          field.dispatchEvent(new KeyboardEvent("keyup", { key: "n", bubbles: true }));
        })()"""
    )
    links = tab.wait(
        "(() => { const links = [...document.querySelectorAll('.md-search-result__link')].map((a) => a.href);"
        " return links.length ? links : null })()"
    )
    page = next(link for link in links if "/launching.html" in link)
    assert Path(urlsplit(page).path).is_file()


def test_dark_mode_switches_page_and_diagrams(site: Path, tab: Tab) -> None:
    colors = """[document.body.dataset.mdColorScheme, getComputedStyle(document.body).backgroundColor,
                 getComputedStyle(document.querySelector('.diagram rect.filled')).fill]"""
    tab.open(site / "index.html", 1280, scheme="light")
    light = tab.run(colors)
    tab.run("document.querySelector('[data-md-component=palette] label:not([hidden])').click()")
    tab.wait("document.body.dataset.mdColorScheme === 'slate'")
    dark = tab.run(colors)
    assert light[0] == "default"
    assert [first != second for first, second in zip(light, dark, strict=True)] == [True] * 3
