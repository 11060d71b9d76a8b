"""JATS by deny-list: each word of an article is in its text, once and glued to no other, or in the census."""

import random
import re
from typing import Any

import pytest
from lxml import etree

from clinical_modernbert.streaming_data.corpora.articles.jats import article_text
from clinical_modernbert.streaming_data.corpora.articles.jats_elements import _ELEMENTS_OF_PARTS, PROSE, reading
from clinical_modernbert.streaming_data.documents.census import Census, element_text

# Elements of JATS (archiving, 1.3) by what they are; the last ones are in no standard.
PHRASES = tuple(
    str.split(
        "abbrev bold email ext-link fixed-case italic monospace named-content overline roman sans-serif sc strike "
        "styled-content sub sup target underline uri xref"
    )
)
OTHERS = tuple(
    str.split(
        "ack address aff alternatives answer app app-group array attrib author-comment bio block-alternatives "
        "boxed-text break caption chem-struct chem-struct-wrap citation-alternatives code collab comment contrib "
        "contrib-group copyright-statement country date day def def-head def-item def-list disp-formula "
        "disp-formula-group disp-quote element-citation explanation fig fig-group floats-group fn fn-group glossary "
        "given-names graphic index-term inline-formula inline-graphic inline-supplementary-material institution kwd "
        "kwd-group label license license-p list list-item long-desc media mixed-citation name notes object-id p "
        "permissions person-group preformat question question-wrap ref ref-list related-article sec sec-meta source "
        "speaker speech statement supplementary-material surname table table-wrap table-wrap-foot table-wrap-group "
        "tbody td term term-head textual-form th thead title tr trans-abstract verse-group verse-line year xyz "
        "unheard-of"
    )
)


def random_tree(rng: random.Random, words: list[str], depth: int) -> str:
    """Content with words directly beside elements; around phrases there are spaces, which are part of a text."""

    def word() -> str:
        words.append(f"w{len(words)}x")
        return words[-1]

    parts = [word() if rng.random() < 0.5 else ""]
    for _ in range(rng.randint(1, 4) if depth else 0):
        name = rng.choice(PHRASES if rng.random() < 0.3 else OTHERS)
        space = " " if name in PHRASES else ""
        inside = random_tree(rng, words, depth - 1)
        kind = f' ref-type="{rng.choice(["bibr", "fig", "fn"])}"' if name == "xref" else ""
        parts.append(
            f"{space}<{name}{kind}>{space}{inside}{space}</{name}>{space}{word() if rng.random() < 0.5 else ''}"
        )
    return "".join(parts)


def read(content: str, parts: list[Any]) -> tuple[str, Census]:
    census = Census()
    article = etree.fromstring(f"<article><front><article-meta/></front><body>{content}</body><back/></article>")
    return article_text(article, reading(parts, "marked", census)), census


@pytest.mark.parametrize("parts", [PROSE, [], [*PROSE, *(part for part in _ELEMENTS_OF_PARTS if part not in PROSE)]])
def test_every_word_is_in_the_text_or_in_the_census(parts: list[Any]) -> None:
    rng = random.Random(7)
    any_left_out = False
    for _ in range(600):
        words: list[str] = []
        content = random_tree(rng, words, depth=4)
        text, census = read(content, parts)
        found = re.findall(r"(?<!\w)w\d+x(?!\w)", text)
        assert len(re.findall(r"w\d+x", text)) == len(found) == len(set(found)), content
        missing = set(words) - set(found)
        assert sum(map(len, missing)) == sum(census.characters.values()), (content, text, census.counts())
        any_left_out |= bool(missing)
    assert any_left_out


def test_what_is_left_out_is_named() -> None:
    content = (
        "<p>See [<xref ref-type='bibr'>1</xref>]<xref ref-type='fn'>*</xref></p><code>x = 1</code>"
        "<table-wrap><object-id>o1</object-id><table><tr><td>0.1</td></tr></table></table-wrap>"
        "<disp-formula><label>(1)</label><tex-math>x</tex-math></disp-formula><ack><p>Thanks</p></ack>"
    )
    text, census = read(content, PROSE)
    assert text == "See\nx"
    assert census.counts() == {
        "acknowledgements": (1, 6),
        "cells of tables": (1, 3),
        "code": (1, 3),
        "numbers of references": (1, 3),
        "sources and numbers of formulas": (1, 3),
        "identifiers": (1, 2),
        "marks of footnotes": (1, 1),
    }


def test_real_articles_lose_nothing_in_silence(dev_data: Any) -> None:
    """Characters of an article = those of its text and census, less the few that are added (headings, bullets, ^)."""
    paths = sorted((dev_data / "pmc_fulltext" / "nxml").glob("*.nxml"))
    assert len(paths) > 50
    for path in paths:
        root = etree.parse(path, etree.XMLParser(remove_comments=True, remove_pis=True)).getroot()
        everything = len("".join(element_text(root).split()))
        census = Census()
        text = article_text(root, reading(PROSE, "marked", census))
        counted = len("".join(text.split())) + sum(census.characters.values())
        assert -0.001 * everything < counted - everything < 0.004 * everything, path.name
