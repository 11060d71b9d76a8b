"""The text of a JATS article in reading order, and a census of what is not in it.

Nothing disappears silently: an element is inline (its text flows on), a separator, or on the list of what is left out;
any other one, also one that nobody knows here, is a block with lines of its own.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lxml import etree

from ..documents.census import Census, element_text, visible
from .scripts import ANCHOR, CITATION, MATHML, ScriptStyle, mark_scripts, math_text, write_scripts

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
_INLINE = _names(
    "abbrev bold data-title email ext-link fixed-case inline-code italic milestone-end milestone-start monospace "
    "named-content overline overline-end overline-start private-char rb roman ruby sans-serif sc strike "
    "styled-content target underline underline-end underline-start uri x"
)
# Around the text of these a space is added, because their publishers set them apart by style or punctuation.
_SPACED = _names(
    "addr-line address article-title break chapter-title citation city collab comment conf-date conf-loc "
    "conf-name country date date-in-citation day degrees edition element-citation elocation-id era etal fpage "
    "given-names hr institution institution-id institution-wrap issue lpage mixed-citation month name "
    "nlm-citation page-range person-group postal-code prefix product pub-id publisher-loc publisher-name role rp "
    "rt season series size source state string-date string-name suffix surname volume year inline-formula "
    "disp-formula chem-struct tex-math"
)
_FORMULAS = ("inline-formula", "disp-formula", "alternatives", "tex-math", f"{MATHML}math")
_TABLES = tuple(_LEFT_OUT["cells of tables"].split())
# Blocks that publishers anchor inside a sentence: they follow the paragraph.
_FLOATS = _names(
    "fig fig-group table-wrap table-wrap-group boxed-text fn graphic inline-graphic media inline-media "
    "supplementary-material inline-supplementary-material"
)
_OTHER_BACK = ("app-group", "app", "fn-group", "ack", "bio")
_TEASERS = ("toc", "teaser", "graphical", "web-summary", "short")
_TITLES = ("article-title", "subtitle", "trans-title-group", "fn-group")
_MARKS_TO = ("fn", "table-fn", "corresp", "aff", "author-notes")
_TEX = ("\\begin{document}", "\\end{document}")
_LETTER_OR_YEAR = re.compile(r"[^\W\d_]|\b(?:1[6-9]|20)\d\d\b")
_WORD = re.compile(r"[^\W\d_]{2}")
_CITATIONS = re.compile(rf"{CITATION}(?:[\s,;–-]*{CITATION})*")  # begins with a character, hence is found fast
_BETWEEN = " \t\n,;–-"
_CLOSING = re.compile(rf"[{_BETWEEN}]*[\])]")
_BLANK_LINES = re.compile(r"\n{3,}")
_ANCHOR = re.compile(rf"\s*(?:{ANCHOR}\s*)+")
_ANCHOR_BEFORE_POINT = re.compile(rf"{_ANCHOR.pattern}(?=[.,;:)\]])")
_NOT_TEXT = re.compile("[\ufdd0-\ufdd4]")


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
    absent = {name: _spoken(part) for part, names in other.items() for name in names.split()}
    return Reading(census, {**_KINDS, **absent}, chosen, scripts)


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
            lines += _part(part, how)
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
    rest = _length(front) - sum(map(_length, chosen))
    how.census.add_counts("metadata", rest > 0, rest)
    lines: list[str] = []
    for part in chosen:
        lines += _abstract(part, part in main, how) if part.tag == "abstract" else _set_apart(_part(part, how))
    return lines


def _abstract(abstract: Any, is_main: bool, how: Reading) -> list[str]:
    kind = abstract.get("abstract-type", "")
    if not is_main and (kind in _TEASERS or "other_abstracts" not in how.parts):
        how.census.add_element("teasers" if kind in _TEASERS else "other abstracts", abstract)
        return []
    lines = _part(abstract, how)
    if abstract.findtext("title", "").strip():
        return lines
    return ["", "Abstract" if is_main else f"Abstract ({_spoken(kind)})", *lines] if lines else []


def _back(section: Any, how: Reading) -> list[str]:
    if "back_sections" in how.parts or section.tag in how.left_out or section.tag in _OTHER_BACK:
        return _part(section, how)
    how.census.add_element("back sections", section)
    return []


def _set_apart(lines: list[str]) -> list[str]:
    """With a blank line before them."""
    return ["", *lines] if lines and lines[0] else lines


def _spoken(name: str) -> str:
    return name.replace("_", " ").replace("-", " ")


def _part(part: Any, how: Reading) -> list[str]:
    """The lines of an element that has not been prepared yet."""
    if part.tag in how.left_out:
        how.census.add_element(how.left_out[part.tag], part)
        return []
    _make_inline(part, how)
    return _lines(part, how)


def _make_inline(part: Any, how: Reading) -> None:
    """Dissolve the elements inside lines into text, in which marks stand for citations and scripts."""
    for table in _topmost(part, *_TABLES):  # first, because their markup is most of an article's
        how.census.add_element(how.left_out[table.tag], table)
        _replace(table, ANCHOR)
    etree.strip_tags(part, *_INLINE)
    for formula in _topmost(part, *_FORMULAS):
        _write_formula(formula, how)
    for reference in part.iter("xref"):
        _mark_citation(reference, how)
    mark_scripts(part)
    for spaced in part.iter(*_SPACED):
        spaced.text = f" {spaced.text or ''}"
        spaced.tail = f" {spaced.tail or ''}"
    for foot in part.iter("table-wrap-foot"):
        for note in foot.iter("fn"):
            note.tag = "table-fn"  # it is chosen with the table's foot, not with footnotes
    etree.strip_tags(part, "xref", "sup", "sub", *_SPACED)


def _topmost(part: Any, *tags: str) -> list[Any]:
    """The elements with these tags that are in no other such element."""
    return [element for element in part.iter(*tags) if next(element.iterancestors(*tags), None) is None]


def _replace(element: Any, text: str) -> None:
    """Make an element with all that is in it a text with spaces around it."""
    element.clear(keep_tail=True)
    element.tag, element.text = "break", text


def _mark_citation(reference: Any, how: Reading) -> None:
    """Put a mark in place of the number of a reference or footnote; names and years are kept."""
    kind = reference.get("ref-type")
    if kind != "bibr" and kind not in _MARKS_TO:
        return
    text = _NOT_TEXT.sub("", element_text(reference)) if len(reference) else reference.text or ""
    if kind == "bibr" and not _LETTER_OR_YEAR.search(text):
        how.census.add("numbers of references", text)
    elif kind != "bibr" and not _WORD.search(text):
        how.census.add("marks of footnotes", text)
    else:
        return
    reference.clear(keep_tail=True)
    reference.text = CITATION


def _write_formula(element: Any, how: Reading) -> None:
    """A formula is its MathML on one line, or else its TeX; without either it is ordinary text."""
    math = element if element.tag == f"{MATHML}math" else next(element.iter(f"{MATHML}math"), None)
    tex = next(element.iter("tex-math"), None) if math is None else None
    if math is not None:
        formula = math_text(math, how.scripts)
    elif tex is not None:
        formula = _tex(tex)
    else:
        return
    total, used = _length(element), _length(tex if math is None else math)
    how.census.add_counts("sources and numbers of formulas", total > used, total - used)
    _replace(element, formula)


def _length(element: Any) -> int:
    return visible(_NOT_TEXT.sub("", element_text(element)))


def _tex(element: Any) -> str:
    text = "".join(element.itertext())
    begin, end = _TEX
    start = text.find(begin)
    stop = text.find(end, start)
    return (text[start + len(begin) : stop].strip() if 0 <= start < stop else text).strip(" $\n")


def _lines(element: Any, how: Reading) -> list[str]:
    """The lines of an element: a line per heading and per text between blocks; a blank line before a heading.

    A label is put before the next line; blocks anchored inside a sentence follow the line that they interrupt.
    """
    if not len(element):
        return [line] if (text := element.text) and (line := _line(text, how)) else []
    lines: list[str] = []
    floating: list[str] = []
    texts = [element.text] if _has_text(element.text) else []
    label = ""
    for child in element:
        tag = child.tag
        if (kind := how.left_out.get(tag)) is not None:
            how.census.add(kind, _NOT_TEXT.sub("", element_text(child)))
            texts.append(ANCHOR)
        elif texts and tag in _FLOATS:
            floating += _block(child, how)
            texts.append(ANCHOR)
        else:
            if texts:
                label = _end_line(lines, texts, floating, label, how)
            block = _block(child, how)
            if tag == "label":
                label = " ".join([label, *block]).strip()
            elif block:
                if label:
                    at = block[0] == ""
                    block[at] = f"{label.rstrip('.')}. {block[at]}" if tag == "caption" else f"{label} {block[at]}"
                    label = ""
                lines += block
        if _has_text(tail := child.tail):
            texts.append(tail)
    if texts:
        label = _end_line(lines, texts, floating, label, how)
    return [*lines, label] if label else lines


def _has_text(text: str | None) -> bool:
    return bool(text) and not text.isspace()  # type: ignore[union-attr]


def _end_line(lines: list[str], texts: list[str], floating: list[str], label: str, how: Reading) -> str:
    """Complete a line, with its label and the blocks that follow it; return the label if it is still to be used."""
    if line := _line("".join(texts), how):
        lines.append(f"{label} {line}" if label else line)
        label = ""
    lines += floating
    texts.clear()
    floating.clear()
    return label


def _block(element: Any, how: Reading) -> list[str]:
    """The lines of a block: a heading, a caption, an item of a list, or any other."""
    lines = _lines(element, how)
    if not lines:
        return []
    match element.tag:
        case "title":
            return ["", *lines]
        case "caption":
            return [" ".join(filter(None, lines))]
        case "list-item":
            return lines if element.find("label") is not None else [f"- {lines[0]}", *lines[1:]]
        case "def-item":
            return [f"- {': '.join(filter(None, [lines[0], ' '.join(lines[1:])]))}"]
    return lines


def _line(text: str, how: Reading) -> str:
    """A text on one line, without the marks for structure."""
    if _NOT_TEXT.search(text):
        text = _without_citations(write_scripts(text, how.scripts), how)
        if ANCHOR in text:
            text = _ANCHOR.sub(" ", _ANCHOR_BEFORE_POINT.sub("", " ".join(text.split())))
    return " ".join(text.split())


def _without_citations(line: str, how: Reading) -> str:
    """The line without the marks of citations, the spaces before them, and brackets that have nothing else."""
    kept, start, removed = [], 0, 0
    for match in _CITATIONS.finditer(line):
        before, end = line[start : match.start()], match.end()
        opening = before.rstrip(_BETWEEN)
        if opening.endswith(("(", "[")) and (closing := _CLOSING.match(line, end)):
            removed += visible(before[len(opening) - 1 :] + closing[0])
            before, end = opening[:-1], closing.end()
        removed += visible(match[0]) - match[0].count(CITATION)
        parted = before[-1:].isspace() or before[-1:].isalnum()
        kept.append(before.rstrip() + " " * (parted and line[end : end + 1].isalnum()))
        start = end
    how.census.characters["numbers of references"] += removed
    return "".join([*kept, line[start:]])
