"""The text of a JATS article in reading order, and a census of what is not in it.

Nothing disappears silently: an element is inline (its text flows on), a separator, or on the list of what is left out;
any other one, also one that nobody knows here, is a block with lines of its own. `jats_elements.py` has these lists,
`jats_lines.py` makes lines of a part.
"""

import re
from typing import Any

from .jats_elements import Reading, readable
from .jats_lines import length, part_lines

_OTHER_BACK = ("app-group", "app", "fn-group", "ack", "bio")
_TEASERS = ("toc", "teaser", "graphical", "web-summary", "short")
_TITLES = ("article-title", "subtitle", "trans-title-group", "fn-group")
_BLANK_LINES = re.compile(r"\n{3,}")


def article_text(article: Any, how: Reading) -> str:
    """The text of an article: the title, the abstract and all else, with a blank line before each heading."""
    return _BLANK_LINES.sub("\n\n", "\n".join(_article(article, how))).strip()


def _article(article: Any, how: Reading) -> list[str]:
    lines: list[str] = []
    for part in article:
        if part.tag in ("front", "front-stub"):
            lines += _front(part, how)
        elif part.tag in ("sub-article", "response") and part.tag not in how.left_out:
            if part.get("article-type") == "translation" and "translations" not in how.parts:
                how.census.add_element("translations", part)
            else:
                lines += ["", *_article(part, how)]
        elif part.tag == "back":
            for section in part:
                lines += _set_apart(_back(section, how))
        else:
            lines += part_lines(part, how)
    return lines


def _front(front: Any, how: Reading) -> list[str]:
    """The title, the abstracts, and what else of the metadata is wanted; all the rest is counted."""
    meta = front.find("article-meta")
    meta = front if meta is None else meta
    abstracts = meta.findall("abstract")
    plain = [abstract for abstract in abstracts if abstract.get("abstract-type") is None]
    main = plain or sorted(abstracts, key=lambda abstract: abstract.get("abstract-type") in _TEASERS)[:1]
    chosen = [part for group in meta.iterfind("title-group") for part in group if part.tag in _TITLES]
    chosen += [*abstracts, *meta.iterchildren("kwd-group", "trans-abstract")]
    rest = length(front) - sum(map(length, chosen))
    how.census.add_counts("metadata", rest > 0, rest)
    lines: list[str] = []
    for part in chosen:
        lines += _abstract(part, part in main, how) if part.tag == "abstract" else _set_apart(part_lines(part, how))
    return lines


def _abstract(abstract: Any, is_main: bool, how: Reading) -> list[str]:
    kind = abstract.get("abstract-type", "")
    if not is_main and (kind in _TEASERS or "other_abstracts" not in how.parts):
        how.census.add_element("teasers" if kind in _TEASERS else "other abstracts", abstract)
        return []
    lines = part_lines(abstract, how)
    if abstract.findtext("title", "").strip():
        return lines
    return ["", "Abstract" if is_main else f"Abstract ({readable(kind)})", *lines] if lines else []


def _back(section: Any, how: Reading) -> list[str]:
    if "back_sections" in how.parts or section.tag in how.left_out or section.tag in _OTHER_BACK:
        return part_lines(section, how)
    how.census.add_element("back sections", section)
    return []


def _set_apart(lines: list[str]) -> list[str]:
    """With a blank line before them."""
    return ["", *lines] if lines and lines[0] else lines
