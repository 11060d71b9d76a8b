"""The diagrams are drawn from their sources, and pages show them."""

import re
import runpy
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "diagrams"
SOURCES = sorted(FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_the_drawing_is_that_of_its_source(source: Path, repository: Path) -> None:
    draw = runpy.run_path(str(repository / "docs/site/diagrams.py"))["draw"]
    diagram = yaml.safe_load(source.read_text(encoding="utf-8"))
    drawn = draw(diagram)
    assert source.with_suffix(".svg").read_text(encoding="utf-8") == drawn, "run: make diagrams"
    texts = " ".join("".join(text.itertext()) for text in ElementTree.fromstring(drawn).iter())
    for words in re.findall(r"[\w.-]+", re.sub(r"[↓↑↕*|`\"]", " ", str(diagram["rows"]))):
        assert words in texts


def test_every_drawing_has_a_source_and_a_page(repository: Path) -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in repository.glob("docs/**/*.md"))
    shown = set(re.findall(r"!\[[^\]]+\]\((?:\.\./)?diagrams/([\w-]+)\.svg\)", pages))
    assert shown == {source.stem for source in SOURCES} == {drawing.stem for drawing in FOLDER.glob("*.svg")}
