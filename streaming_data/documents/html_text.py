"""HTML to plain text: one line per block, tabs between the cells of a table row, nothing of scripts and styles."""

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

from ...configs.limits import MARKUP_DEPTH, TooLargeError
from .markup import TAG, check_markup, unescape_tags


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_PARAGRAPHS = _names("p h1 h2 h3 h4 h5 h6 ul ol dl table blockquote pre hr")
_LINES = _names(
    "address article aside body caption center dd details div dt fieldset figcaption figure footer form header html "
    "legend main nav option section summary tbody tfoot thead"
)
_TABLES = _names("table tr td th")
_HIDDEN = _names("script style title template xml")
_INLINE = _names(
    "a abbr acronym area b base bdi bdo big br button cite code col colgroup data del dfn em font head i img input ins "
    "kbd label li link map mark meta noscript q s samp select small span strike strong sub sup textarea time tt u var "
    "wbr"
)
_KNOWN = _PARAGRAPHS | _LINES | _TABLES | _HIDDEN | _INLINE
# Where one of these occurs, line breaks of the source are spaces; where none does, as in a note with a few <b> and
# <br>, they are the note's own.
_LAYOUT = re.compile(r"<(?:!doctype|html|body|table|ul|ol|pre|center|(?:p|div|tr|td|li|h[1-6])\b[^<>]*>)", re.I)
_NEWLINE_AFTER_BREAK = re.compile(r"(<br\s*/?>)[ \t]*\r?\n", re.I)
# An angle bracket that begins neither a tag nor a comment, as in `K <3.5` or `if a <b then`, is a character.
_CHARACTER = re.compile(
    r"""<(?!/?[a-z][\w:.-]*(?:[\s/](?:[^<>"']|"[^"<]*"|'[^'<]*')*)?>|!--|!\[(?:(?:if|else|endif)\b[^<>]*\]>|CDATA\[[^<>]*\]\]>)|!doctype|\?xml)""",
    re.IGNORECASE,
)
_SPACES = re.compile(r"[ \t\r\n\f\v]+")
_PRESERVED = re.compile(r"white-space\s*:\s*pre", re.I)
_RAISED = re.compile(r"[-+]?\d")


def convert_html(text: str) -> str:
    """The text without markup, if it has any: paragraphs, headings, lists and tables between blank lines.

    A line break of the source is a space if the HTML itself defines the lines. Names in angle brackets that are not
    HTML stay (`<NAME>`).
    """
    tagged = unescape_tags(text)
    if not TAG.search(tagged):
        return text
    check_markup(tagged, "HTML")
    has_layout = bool(_LAYOUT.search(tagged))
    if not has_layout:
        tagged = _NEWLINE_AFTER_BREAK.sub(r"\1", tagged)
    reader = _Reader(keep_newlines=not has_layout)
    reader.feed(_escape_unclosed(_CHARACTER.sub("&lt;", tagged)))
    return reader.finished()


def _escape_unclosed(text: str) -> str:
    """The text in which a comment, declaration or instruction that has no end does not begin either.

    HTMLParser would search all the rest for its end, once per such start.
    """
    comments, tags = text.rfind("-->") + 1, text.rfind(">") + 1
    between = text[comments:tags].replace("<!--", "&lt;!--")
    return text[:comments] + between + text[tags:].replace("<", "&lt;")


@dataclass
class _Block:
    """Lines under construction: of the document, or of a cell."""

    lines: list[str] = field(default_factory=list)
    bullet: str = ""  # of a list item without text yet
    _parts: list[str] = field(default_factory=list)  # of the current line; adding to one string takes quadratic time

    @property
    def line(self) -> str:
        return "".join(self._parts)

    @line.setter
    def line(self, text: str) -> None:
        self._parts = [text] if text else []

    @property
    def last(self) -> str:
        """The last character of the current line, or nothing."""
        return self._parts[-1][-1] if self._parts else ""

    def write(self, text: str) -> None:
        """Add text to the current line, in which runs of white space are one space."""
        text = _SPACES.sub(" ", text)
        if self.last in ("", " ", "\t"):
            text = text.lstrip(" ")
        self.write_exactly(text)

    def write_exactly(self, text: str) -> None:
        if text and self.bullet:
            text, self.bullet = self.bullet + text, ""
        if text:
            self._parts.append(text)

    def end_line(self, exactly: bool = False) -> None:
        self.lines.append(self.line if exactly else self.line.rstrip(" "))
        self.line = ""

    def start_line(self) -> None:
        if self.line.strip() or (self.line and self.lines and self.lines[-1].strip()):
            self.end_line()
        self.line = ""

    def start_paragraph(self) -> None:
        self.start_line()
        if self.lines and self.lines[-1].strip():
            self.lines.append("")

    def text(self) -> str:
        self.start_line()
        return "\n".join(self.lines)


@dataclass
class _Table:
    """A table whose end was not read yet: the finished cells of the current row, and the current cell."""

    row: list[str] = field(default_factory=list)
    cell: _Block | None = None


class _Reader(HTMLParser):
    def __init__(self, keep_newlines: bool) -> None:
        super().__init__(convert_charrefs=True)
        self._keep_newlines = keep_newlines
        self._document = _Block()
        self._tables: list[_Table] = []
        self._lists: list[int | None] = []  # the last number of each open list; None without numbers
        self._preserved: list[str] = []  # open elements in which white space is kept
        self._after_pre = False
        self._hidden: str | None = None
        self._raised = False

    def finished(self) -> str:
        self.close()
        while self._tables:
            self._end_table()
        text = self._document.text().replace("\u00a0", " ")
        return text if self._keep_newlines else "\n".join(line.rstrip() for line in text.split("\n")).strip("\n")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._hidden and tag != "body":
            return
        self._hidden = tag if tag in _HIDDEN else None
        attributes = dict(attrs)
        if tag == "pre" or _PRESERVED.search(attributes.get("style") or "") or tag in self._preserved[-1:]:
            self._preserved += [tag] if tag not in ("br", "hr", "img", "input") else []
        if tag not in _KNOWN and not set(tag) & set(":-"):
            self.handle_data(self.get_starttag_text() or "")
        elif tag in _TABLES:
            self._start_in_table(tag)
        elif tag == "br":
            self._block.end_line(self._exactly)
        elif tag == "li":
            self._start_item()
        elif tag == "input":
            self._write_input(attributes)
        else:
            self._start_block(tag)
        self._raised = tag == "sup"
        self._after_pre = tag == "pre"
        if tag in ("ul", "ol"):
            self._lists.append(0 if tag == "ol" else None)

    def handle_endtag(self, tag: str) -> None:
        if self._hidden:
            self._hidden = None if tag == self._hidden else self._hidden
            return
        if tag in self._preserved[-1:]:
            self._preserved.pop()
        if tag in ("ul", "ol") and self._lists:
            self._lists.pop()
        if tag == "table":
            self._end_table()
        elif tag == "tr":
            self._end_row()
        elif tag in _TABLES:
            self._end_cell()
        elif tag in _KNOWN:
            self._start_block("div" if tag == "li" else tag)
        elif not set(tag) & set(":-"):
            self.handle_data(f"</{tag}>")
        self._raised = False

    def handle_data(self, data: str) -> None:
        if self._hidden:
            return
        block = self._block
        if self._raised and block.last.isdigit() and _RAISED.match(data):
            data = f"^{data}"  # 10<sup>9</sup> is not 109
        if not self._exactly:
            block.write(data)
            return
        data = data.replace("\r\n", "\n")
        first, *more = (data.removeprefix("\n") if self._after_pre else data).split("\n")
        self._after_pre = False
        block.write_exactly(first)
        for line in more:
            block.lines.append(block.line)
            block.line = line

    @property
    def _exactly(self) -> bool:
        """Whether white space is kept here."""
        return self._keep_newlines or bool(self._preserved)

    @property
    def _block(self) -> _Block:
        """The innermost open cell, or the document."""
        return next((table.cell for table in reversed(self._tables) if table.cell), self._document)

    def _start_block(self, tag: str) -> None:
        """Begin a line or a paragraph, as the start and as the end of a block element do."""
        if tag in ("ul", "ol") and self._lists:
            self._block.start_line()  # a list inside another
        elif tag in _PARAGRAPHS and not self._block.bullet:
            self._block.start_paragraph()
        elif tag in _LINES:
            self._block.start_line()

    def _start_item(self) -> None:
        self._block.start_line()
        number = self._lists[-1] if self._lists else None
        if number is not None:
            number += 1
            self._lists[-1] = number
        self._block.bullet = "- " if number is None else f"{number}. "

    def _write_input(self, attributes: dict[str, str | None]) -> None:
        kind = (attributes.get("type") or "text").lower()
        if kind in ("checkbox", "radio"):
            self._block.write("[x]" if "checked" in attributes else "[ ]")
        elif kind != "hidden":
            self._block.write(attributes.get("value") or "")

    def _start_in_table(self, tag: str) -> None:
        if tag == "table" or not self._tables:
            self._block.start_paragraph()
            if len(self._tables) == MARKUP_DEPTH:
                raise TooLargeError(f"HTML with more than {MARKUP_DEPTH} tables inside one another")
            self._tables.append(_Table())
        if tag == "tr":
            self._end_row()
        elif tag != "table":
            self._end_cell()
            self._tables[-1].cell = _Block()

    def _end_cell(self) -> None:
        if self._tables and (cell := self._tables[-1].cell):
            self._tables[-1].row.append(cell.text().strip("\n"))
            self._tables[-1].cell = None

    def _end_row(self) -> None:
        """Write a row as one line, or, in a table that only arranges blocks, each cell's lines."""
        self._end_cell()
        if not self._tables or not (row := self._tables[-1].row):
            return
        self._tables[-1].row = []
        self._block.start_line()
        layout = any("\n" in cell for cell in row)
        self._block.lines += "\n".join(row).split("\n") if layout else ["\t".join(row).rstrip("\t ")]

    def _end_table(self) -> None:
        if self._tables:
            self._end_row()
            self._tables.pop()
            self._block.start_paragraph()
