"""What the elements of JATS are to a reader: text, separators, blocks, or left out; and how a recipe chooses."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ...documents.census import Census
from .scripts import MATHML, ScriptStyle

ArticlePart = Literal[
    "blocks",
    "footnotes",
    "table_feet",
    "back_sections",
    "supplements",
    "other_abstracts",
    "sub_articles",
    "acknowledgements",
    "keywords",
    "translations",
    "code",
]
PROSE: list[ArticlePart] = ["blocks", "footnotes", "table_feet", "back_sections", "other_abstracts", "sub_articles"]


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_BLOCKS = "boxed-text disp-quote statement preformat verse-group speech question-wrap question answer explanation"
_ELEMENTS_OF_PARTS: dict[ArticlePart, str] = {
    "blocks": _BLOCKS,
    "footnotes": "fn fn-group",
    "table_feet": "table-wrap-foot",
    "supplements": "supplementary-material inline-supplementary-material",
    "sub_articles": "sub-article response",
    "acknowledgements": "ack bio",
    "keywords": "kwd-group",
    "translations": "trans-abstract trans-title-group trans-title trans-subtitle",
    "code": "code",
}
_LEFT_OUT = {
    "references": "ref-list",
    "cells of tables": "table thead tbody tfoot",
    "descriptions of pictures": "alt-text long-desc glyph-data glyph-ref",
    "identifiers": "object-id",
    "index terms": "index-term index-term-range-end",
    "licenses": "permissions license copyright-statement copyright-year copyright-holder",
    "metadata": "journal-meta processing-meta custom-meta-group sec-meta related-article related-object",
}
_KINDS = {name: kind for kind, names in _LEFT_OUT.items() for name in names.split()}
INLINE = _names(
    "abbrev bold data-title email ext-link fixed-case inline-code italic milestone-end milestone-start monospace "
    "named-content overline overline-end overline-start private-char rb roman ruby sans-serif sc strike "
    "styled-content target underline underline-end underline-start uri x"
)
# Around the text of these a space is added, because their publishers set them apart by style or punctuation.
SPACED = _names(
    "addr-line address article-title break chapter-title citation city collab comment conf-date conf-loc "
    "conf-name country date date-in-citation day degrees edition element-citation elocation-id era etal fpage "
    "given-names hr institution institution-id institution-wrap issue lpage mixed-citation month name "
    "nlm-citation page-range person-group postal-code prefix product pub-id publisher-loc publisher-name role rp "
    "rt season series size source state string-date string-name suffix surname volume year inline-formula "
    "disp-formula chem-struct tex-math"
)
FORMULAS = ("inline-formula", "disp-formula", "alternatives", "tex-math", f"{MATHML}math")
TABLES = tuple(_LEFT_OUT["cells of tables"].split())
# Blocks that publishers anchor inside a sentence: they follow the paragraph.
FLOATS = _names(
    "fig fig-group table-wrap table-wrap-group boxed-text fn graphic inline-graphic media inline-media "
    "supplementary-material inline-supplementary-material"
)


@dataclass(frozen=True)
class Reading:
    """How articles are read.

    Attributes:
        left_out: by the name of an element, the kind under which it is counted and left out.
        parts: the parts of an article that are text, besides the title, the abstract, sections and captions.
    """

    census: Census
    left_out: Mapping[str, str]
    parts: frozenset[ArticlePart]
    scripts: ScriptStyle


def reading(parts: "list[ArticlePart]", scripts: ScriptStyle, census: Census) -> Reading:
    """How a recipe wants articles to be read."""
    chosen = frozenset(parts)
    other = {part: names for part, names in _ELEMENTS_OF_PARTS.items() if part not in chosen}
    absent = {name: readable(part) for part, names in other.items() for name in names.split()}
    return Reading(census, {**_KINDS, **absent}, chosen, scripts)


def readable(name: str) -> str:
    return name.replace("_", " ").replace("-", " ")
