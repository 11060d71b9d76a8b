"""The lines of a part of a JATS article: elements inside lines become text first, then blocks become lines."""

import re
from typing import Any

from lxml import etree

from ...documents.census import element_text, visible
from .jats_elements import FLOATS, FORMULAS, INLINE, SPACED, TABLES, Reading
from .scripts import ANCHOR, CITATION, MATHML, mark_scripts, math_text, write_scripts

_MARKS_TO = ("fn", "table-fn", "corresp", "aff", "author-notes")
_TEX = ("\\begin{document}", "\\end{document}")
_LETTER_OR_YEAR = re.compile(r"[^\W\d_]|\b(?:1[6-9]|20)\d\d\b")
_WORD = re.compile(r"[^\W\d_]{2}")
_CITATIONS = re.compile(rf"{CITATION}(?:[\s,;–-]*{CITATION})*")  # begins with a character, hence is found fast
_BETWEEN = " \t\n,;–-"
_CLOSING = re.compile(rf"[{_BETWEEN}]*[\])]")
_ANCHOR = re.compile(rf"\s*(?:{ANCHOR}\s*)+")
_ANCHOR_BEFORE_POINT = re.compile(rf"{_ANCHOR.pattern}(?=[.,;:)\]])")
_NOT_TEXT = re.compile("[\ufdd0-\ufdd4]")


def part_lines(part: Any, how: Reading) -> list[str]:
    """The lines of an element that has not been prepared yet."""
    if part.tag in how.left_out:
        how.census.add_element(how.left_out[part.tag], part)
        return []
    _make_inline(part, how)
    return _lines(part, how)


def _make_inline(part: Any, how: Reading) -> None:
    """Dissolve the elements inside lines into text, in which marks stand for citations and scripts."""
    for table in _topmost(part, *TABLES):  # first, because their markup is most of an article's
        how.census.add_element(how.left_out[table.tag], table)
        _replace(table, ANCHOR)
    etree.strip_tags(part, *INLINE)
    for formula in _topmost(part, *FORMULAS):
        _write_formula(formula, how)
    for reference in part.iter("xref"):
        _mark_citation(reference, how)
    mark_scripts(part)
    for spaced in part.iter(*SPACED):
        spaced.text = f" {spaced.text or ''}"
        spaced.tail = f" {spaced.tail or ''}"
    for foot in part.iter("table-wrap-foot"):
        for note in foot.iter("fn"):
            note.tag = "table-fn"  # it is chosen with the table's foot, not with footnotes
    etree.strip_tags(part, "xref", "sup", "sub", *SPACED)


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
    total, used = length(element), length(tex if math is None else math)
    how.census.add_counts("sources and numbers of formulas", total > used, total - used)
    _replace(element, formula)


def length(element: Any) -> int:
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
        elif texts and tag in FLOATS:
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
