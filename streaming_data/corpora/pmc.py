"""PMC open-access full text (JATS), from article files, PMC's tar packages, and the answers of efetch and OAI servers.

The text is the title, the abstract and the sections with a blank line before each heading; captions of tables and
figures keep their position. References and the numbers that cite them are left out, but author-year citations are kept.
A formula is the characters of its MathML, or else its TeX.
"""

import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from lxml import etree

from ...configs.errors import UserError
from ...configs.limits import XML_BYTES
from ..documents.bounded import read_at_once
from ..documents.clean import CleaningStep
from ..documents.document import Document
from ..documents.files import explain_read_errors, open_binary
from ..documents.spans import Span, open_span
from ..documents.tar_package import read_members
from ..documents.xml_bounds import check_tags
from .source import Source


class PmcSource(Source):
    """PMC open-access full text in JATS XML: article files, PMC's tar packages of them, answers of efetch or OAI.

    It splits by PMID, like PubMed, so that an article and its abstract are in the same split.
    """

    format: Literal["pmc"]
    public: bool = True
    clean: list[CleaningStep] = ["encoding", "control_characters", "boilerplate"]
    split_by: str = "pmid"


_MATHML = "{http://www.w3.org/1998/Math/MathML}"
_TEX = ("\\begin{document}", "\\end{document}")
_FORMULAS = {"inline-formula", "disp-formula", "alternatives", f"{_MATHML}math"}
_LISTS = ("list", "def-list")
_FLOATS = ("fig", "table-wrap")
_GROUPS = ("sec", "app", "boxed-text", "disp-quote", "fig-group", "table-wrap-group")
_NOT_INLINE = {*_LISTS, *_FLOATS, *_GROUPS, "supplementary-material", "fn", "graphic", "inline-graphic", "media"}
_LETTER = re.compile(r"[^\W\d_]")
_CITATION_MARK = "\ue000"  # a private-use character in place of a citation's number
_CITATIONS = rf"{_CITATION_MARK}(?:[\s,;–-]*{_CITATION_MARK})*"
_EMPTY_CITATION = re.compile(rf"\s*[\[(][\s,;–-]*{_CITATIONS}[\s,;–-]*[\])]|\s*{_CITATIONS}")


def read(path: Path, source: PmcSource, span: Span | None = None) -> Iterator[Document]:
    """One document per article of a file or of a span of a package.

    Its meta holds its PMCID, and its PMID or, if it has none, the PMCID again.
    """
    for name, content in _files(path, span):
        check_tags(name, content)
        parser = etree.XMLParser(no_network=True, load_dtd=False, remove_comments=True, remove_pis=True)
        try:
            root = etree.fromstring(content, parser)
        except etree.XMLSyntaxError as error:
            raise UserError(f"{name}: malformed XML at line {error.lineno} ({error.msg})") from error
        for article in _articles(root, name):
            yield _document(article, name, source)


def _articles(root: Any, name: str) -> list[Any]:
    """The articles in a file: its root, or those in the answer of efetch (<pmc-articleset>) or of an OAI server."""
    articles = list(root.iter("{*}article"))
    for article in articles:
        if namespace := etree.QName(article).namespace:
            for element in article.iter(f"{{{namespace}}}*"):
                element.tag = etree.QName(element).localname
    if not articles:
        error = root.find("{*}error")
        seen = "" if error is None else f", and the server's error is {error.get('code')}"
        raise UserError(
            f"{name}: its root is <{etree.QName(root).localname}> without an article in it{seen}; expected a JATS "
            "<article>"
        )
    return articles


def is_package(path: Path) -> bool:
    return path.name.removesuffix(".gz").endswith((".tar", ".tgz"))


def _files(path: Path, span: Span | None) -> Iterator[tuple[str, bytes]]:
    """The XML files in a file: a name for messages, and the bytes."""
    if not is_package(path):
        with open_binary(path) as file, explain_read_errors(path, lambda: "its first bytes"):
            yield str(path), read_at_once(file, XML_BYTES, str(path))
        return
    last = "its first bytes"
    with open_span(span) if span else open_binary(path) as file, explain_read_errors(path, lambda: last):
        try:
            for name, member in read_members(path, file, (".xml", ".nxml")):
                yield f"{path}: {name}", read_at_once(member, XML_BYTES, f"{path}: {name}")
                last = name
        except tarfile.TarError as error:
            raise UserError(f"{path}: truncated or corrupt after {last} ({error}); download the file again") from error


def _document(article: Any, name: str, source: PmcSource) -> Document:
    front = article.find("front/article-meta")
    ids = {} if front is None else {part.get("pub-id-type"): _inline(part) for part in front.iterfind("article-id")}
    pmcid = ids.get("pmcid") or ids.get("pmc")
    if front is None or not pmcid:
        raise UserError(f"{name}: no PMC id in its front matter; expected an article of PMC")
    pmcid = f"PMC{pmcid.removeprefix('PMC')}"
    lines = [_inline(front.find("title-group/article-title"))]
    abstracts = [part for part in front.iterfind("abstract") if part.get("abstract-type") is None]
    for abstract in abstracts:
        lines += ["", "Abstract", *_blocks(abstract)]
    for path in ("body", "back/app-group/app", "floats-group"):
        for part in article.iterfind(path):
            lines += _blocks(part)
    meta = {"pmcid": pmcid, "pmid": ids.get("pmid") or pmcid, "type": article.get("article-type", "")}
    return Document(pmcid, source.name, "\n".join(lines).strip(), meta)


def _blocks(parent: Any) -> list[str]:
    """The lines below a section: its heading, paragraphs, lists and captions, and the sections inside it."""
    lines: list[str] = []
    for child in parent:
        if child.tag == "title":
            lines += ["", heading] if (heading := _inline(child)) else []
        elif child.tag == "p":
            lines += _paragraph(child)
        elif child.tag in _FORMULAS:
            lines += [formula] if (formula := _formula(child)) else []
        else:
            lines += _embedded(child)
    return lines


def _paragraph(paragraph: Any) -> list[str]:
    """The paragraph's text, then the lists, captions and boxes that JATS allows inside it."""
    text = _inline(paragraph)
    lines = [text] if text else []
    for part in paragraph:
        lines += _embedded(part)
    return lines


def _embedded(element: Any) -> list[str]:
    """The lines of an element that JATS allows between or inside paragraphs: a list, caption or box."""
    if element.tag in _LISTS:
        return _list(element)
    if element.tag in _FLOATS:
        return _caption(element)
    return _blocks(element) if element.tag in _GROUPS else []


def _list(element: Any) -> list[str]:
    if element.tag == "def-list":
        items = [": ".join(_inline(part) for part in item) for item in element.iterfind("def-item")]
    else:
        items = [" ".join(_blocks(item)) for item in element.iterfind("list-item")]
    return [f"- {item.strip()}" for item in items if item.strip()]


def _caption(element: Any) -> list[str]:
    """`Table 1. What it shows.`; the cells of tables are left out, being numbers without sentences."""
    parts = [_inline(element.find("label")).rstrip("."), *map(_inline, element.iterfind("caption/*"))]
    text = ". ".join(part for part in (parts[0], " ".join(parts[1:])) if part)
    return [text] if text else []


def _inline(element: Any) -> str:
    """All text inside an element, in order, on one line."""
    parts: list[str] = []
    if element is not None:
        _collect(element, parts)
    line = " ".join("".join(parts).split())  # first, because the expression takes quadratic time on runs of spaces
    return " ".join(_EMPTY_CITATION.sub("", line).split())


def _collect(element: Any, parts: list[str]) -> None:
    parts.append(element.text or "")
    for child in element:
        if child.tag in _FORMULAS:
            parts.append(f" {_formula(child)} ")
        elif child.tag == "xref" and child.get("ref-type") == "bibr" and not _LETTER.search("".join(child.itertext())):
            parts.append(_CITATION_MARK)
        elif child.tag == "break":
            parts.append(" ")
        elif child.tag not in _NOT_INLINE:
            _collect(child, parts)
        parts.append(child.tail or "")


def _formula(element: Any) -> str:
    math = element if element.tag == f"{_MATHML}math" else element.find(f".//{_MATHML}math")
    if math is not None:
        for note in math.iter(f"{_MATHML}annotation", f"{_MATHML}annotation-xml"):
            note.text = ""
        return "".join("".join(math.itertext()).split())
    tex = element.find(".//tex-math")
    if tex is not None:
        text = "".join(tex.itertext())
        begin, end = _TEX
        start = text.find(begin)
        stop = text.find(end, start)
        return (text[start + len(begin) : stop].strip() if 0 <= start < stop else text).strip(" $\n")
    return " ".join("".join(element.itertext()).split())
