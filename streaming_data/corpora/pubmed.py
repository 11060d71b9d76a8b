"""PubMed baseline and update files: the title and abstract of the newest version of every citation.

A first pass (`articles/pubmed_versions.py`) determines the newest record of each citation and the deleted citations; a
second pass (`read`) parses each file independently (`articles/pubmed_records.py`). The files can therefore be read in
any order, in parallel and repeatedly.
"""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import numpy as np
import numpy.typing as npt

from ...configs.errors import UserError
from ..documents.archives import START, xml_root
from ..documents.census import Census, element_text, squeezed
from ..documents.clean import CleaningStep
from ..documents.document import Document
from ..documents.files import open_binary
from ..documents.spans import Span, ends_file, open_span
from .articles.pubmed_records import RETRACTED, elements, explain_errors
from .articles.scripts import MATHML, ScriptStyle, mark_script, math_text, write_scripts
from .source import Source


class PubMedSource(Source):
    """PubMed baseline and update files (XML), oldest first: the newest version of a citation wins.

    Attributes:
        require_abstract: leave out citations without an abstract (about a third of PubMed).
        scripts: `marked` writes raised numbers as in `10^9/l`; `plain` writes only their digits.
    """

    format: Literal["pubmed"]
    public: bool = True
    clean: list[CleaningStep] = ["encoding", "control_characters", "boilerplate"]
    split_by: str = "pmid"
    require_abstract: bool = False
    scripts: ScriptStyle = "marked"


_TEXT_PARTS = {"ArticleTitle", "Abstract", "VernacularTitle"}
_INLINE = {"b", "i", "u"}
_MATH = f"{MATHML}math"
_NO_TITLE = {"", "[Not Available]."}


def read(
    path: Path, source: PubMedSource, keep: npt.NDArray[np.bool_], left_out: Census, span: Span | None = None
) -> Iterator[Document]:
    """The documents of the records of one file that `keep` selects, an array of `newest_records`; of a span, only its
    own.

    `left_out` counts what is in the file and in none of them.
    """
    pmid, number = "", 0
    if span:
        keep = keep[span.first : span.first + span.records]
    with _open_span(span) if span else open_binary(path) as file, explain_errors(path, lambda: pmid):
        for citation, _ in elements(path, file, left_out, "MedlineCitation", "PubmedBookArticle"):
            if citation.tag == "PubmedBookArticle":
                left_out.add_element("books", citation)
                continue
            pmid = _child_text(citation, "PMID")
            if number < len(keep) and keep[number]:
                if document := _document(citation, pmid, source, left_out):
                    yield document
            else:
                left_out.add_element("citations with a newer version, or deleted", citation)
            number += 1
    if number == 0 and not span:
        raise UserError(
            f"{path}: has no MedlineCitation{_root_of(path)}; expected a PubMed baseline, update or export file in XML"
        )
    if number != len(keep):
        raise UserError(f"{path}: changed while it was read: {len(keep)} citations, then {number}; run it again")


def _open_span(span: Span) -> BinaryIO:
    """A span of citations as a document of its own."""
    before = io.BytesIO(b"<PubmedArticleSet>" if span.start else b"")
    after = io.BytesIO(b"" if ends_file(span) else b"</PubmedArticleSet>")
    return cast(BinaryIO, _Chain([before, open_span(span), after]))


class _Chain:
    """Streams one after the other."""

    def __init__(self, files: Sequence[BinaryIO]) -> None:
        self._files = files

    def read(self, size: int) -> bytes:
        return next(filter(None, (file.read(size) for file in self._files)), b"")

    def __enter__(self) -> "_Chain":
        return self

    def __exit__(self, *error: object) -> None:
        for file in self._files:
            file.close()


def _root_of(path: Path) -> str:
    with open_binary(path) as file:
        root = xml_root(file.read(START))
    return f"; its root is <{root}>" if root else ""


def _document(citation: Any, pmid: str, source: PubMedSource, left_out: Census) -> Document | None:
    article = next(citation.iterchildren("Article"), None)  # `find` takes twice as long
    if article is None:
        left_out.add_element("citations without an article", citation)
        return None
    parts: dict[str, Any] = {}
    others: list[Any] = []
    for part in article:
        tag = part.tag
        parts[tag] = part
        if tag not in _TEXT_PARTS:
            others.append(part)
    title = _text(parts.get("ArticleTitle"), source)
    if title in _NO_TITLE:
        title = _text(parts.get("VernacularTitle"), source)
    elif "VernacularTitle" in parts:
        left_out.add_element("titles in other languages", parts["VernacularTitle"])
    lines = []
    for part in parts.get("Abstract", ()):
        if part.tag != "AbstractText":
            left_out.add_element("licenses", part)
        elif line := _paragraph(part, source):
            lines.append(line)
    if source.require_abstract and not lines:
        left_out.add_element("citations without an abstract", article)
        return None
    for part in others:
        left_out.add_element("metadata", part)
    retracted = any(kind.get("UI") == RETRACTED for kind in parts.get("PublicationTypeList", ()))
    language = " ".join((parts["Language"].text or "").split()) if "Language" in parts else ""
    meta = {"pmid": pmid, "language": language, "retracted": str(retracted).lower()}
    return Document(pmid, source.name, "\n".join([title, *lines] if title else lines), meta)


def _child_text(element: Any, tag: str) -> str:
    child = next(element.iterchildren(tag), None)
    return "" if child is None else (child.text or "").strip()


def _paragraph(part: Any, source: PubMedSource) -> str:
    text = _text(part, source)
    label = part.get("Label", "").strip() if text else ""
    return f"{label}: {text}" if label and label != "UNLABELLED" else text


def _text(element: Any, source: PubMedSource) -> str:
    """All text inside an element, in order, without inline markup; line breaks become spaces."""
    if element is None:
        return ""
    if not len(element):
        return squeezed(element.text or "")
    for part in list(element.iterdescendants()):
        tag = part.tag
        if tag in ("sup", "sub"):
            mark_script(part)
        elif tag == _MATH:
            formula = math_text(part, source.scripts)
            part.clear(keep_tail=True)
            part.text = formula
        elif tag not in _INLINE and not tag.startswith(MATHML):
            part.text, part.tail = f" {part.text or ''}", f" {part.tail or ''}"
    return squeezed(write_scripts(element_text(element), source.scripts))
