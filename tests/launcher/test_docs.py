"""Links between pages, the table of pages, and the navigation of the site."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCED = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)


def text_of(page: Path) -> str:
    """Return the text of a page without code blocks."""
    return FENCED.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub and MkDocs generate for the headings of a page."""
    titles = re.findall(r"^#+ +(.*)$", text_of(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def pages_of(navigation: list[Any]) -> list[str]:
    """Return the pages of a navigation with nested sections."""
    nested = [pages_of(next(iter(entry.values()))) if isinstance(entry, dict) else [entry] for entry in navigation]
    return [page for pages in nested for page in pages]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_have_targets(page: Path) -> None:
    for link in LINK.findall(text_of(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


def test_every_page_is_listed_once_and_in_the_navigation() -> None:
    docs = ROOT / "docs"
    pages = {page.relative_to(docs).as_posix() for page in docs.glob("**/*.md")}
    index = (docs / "README.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^\| \[([\w./-]+)\]\(\1\)", index, re.MULTILINE)) == sorted(pages - {"README.md"})
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert sorted(pages_of(site["nav"])) == sorted(pages)


def test_the_reference_lists_existing_modules() -> None:
    names = re.findall(r"^::: clinical_modernbert\.(\S+)$", (ROOT / "docs/api.md").read_text(), re.MULTILINE)
    assert names
    assert [name for name in names if not (ROOT / f"{name.replace('.', '/')}.py").is_file()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_modules_and_folders_in_the_text_exist(page: Path) -> None:
    """Checks paths in backquotes. A page about `streaming_data/` may omit this prefix, of tests too."""
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} | {"tests", "benchmarks", "docs"}
    subfolders = {path.name for path in (ROOT / "streaming_data").iterdir() if path.is_dir()}
    for path in re.findall(r"`([\w.-]+/[\w./-]*(?:\.py|/))`", text_of(page)):
        first = path.split("/")[0]
        if first in packages | subfolders:
            assert any((ROOT / prefix / path).exists() for prefix in ("", "streaming_data", "tests/streaming_data")), (
                path
            )
