"""PubMed baseline and update files: the title and abstract of the newest version of every citation.

A first pass (`scan`, `newest_records`) reads only PMIDs and determines the newest record of each citation and the
deleted citations; a second pass (`read`) parses each file independently. The files can therefore be read in any order,
in parallel and repeatedly, with a few bytes of memory per citation.
"""

import io
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple, cast

import numpy as np
import numpy.typing as npt
from lxml import etree

from ...configs.errors import UserError
from ...configs.limits import XML_BYTES, TooLargeError
from ..documents.archives import START, xml_root
from ..documents.census import Census, element_text, markup_text_length
from ..documents.clean import CleaningStep
from ..documents.document import Document
from ..documents.files import explain_read_errors, open_binary
from ..documents.spans import Span, ends_file, open_span
from ..documents.xml_bounds import Budget, message_of, split_at_declarations
from .scripts import MATHML, ScriptStyle, mark_script, math_text, write_scripts
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


# NLM's own spelling, which is searched without a parser. Where a file has another one, or comments or CDATA that may
# hide tags, the scan parses it.
_PMID = rb'<PMID(?:\s+Version="(\d+)")?\s*>\s*(\d+)\s*</PMID>'
_CITATION = re.compile(rb"<MedlineCitation(?:\s[^>]*)?>\s*" + _PMID)
_DELETED = re.compile(rb"<DeleteCitation\s*>(.*?)</DeleteCitation>", re.DOTALL)
CITATION_TAG = re.compile(rb"<MedlineCitation[\s/>]")
_LONGEST_TAG = 1 << 10
_SCAN_BLOCK = 1 << 20
_LONGEST_SCANNED = 1 << 24
_MOST_PMID = 99_999_999  # NLM's own limit is eight digits; there is an array with a number per PMID
_MOST_VERSION = 9_999
_PARSE_BLOCK = 1 << 20
# Elements removed before parsing: what they are, start, end and replacement. The largest come first, because removed
# text is not searched again.
_REMOVED = [
    ("references and history", b"<PubmedData>", b"</PubmedData>", b""),
    ("authors", b"<AuthorList", b"</AuthorList>", b""),
    ("index terms and other abstracts", b"</Article>", b"</MedlineCitation>", b"</Article></MedlineCitation>"),
    ("journals", b"<Journal>", b"</Journal>", b""),
]
_TEXT_PARTS = {"ArticleTitle", "Abstract", "VernacularTitle"}
_INLINE = {"b", "i", "u"}
_MATH = f"{MATHML}math"
_NO_TITLE = {"", "[Not Available]."}
_RETRACTED = "D016441"


class Versions(NamedTuple):
    """Citations by PMID and version, in the file's order: int64 (n,) each."""

    pmids: npt.NDArray[np.int64]
    versions: npt.NDArray[np.int64]


class Scan(NamedTuple):
    """The citations of a file, and the citations that it deletes."""

    records: Versions
    deleted: Versions


def newest_records(scans: Sequence[Scan]) -> list[npt.NDArray[np.bool_]]:
    """Which records of each file to keep: one array per scan, bool (records of the file,).

    Of the records of one PMID, the last one of the highest version is kept, in the order of the files. A DeleteCitation
    deletes earlier records only, none of a later file.
    """
    highest = max((int(part.pmids.max()) for scan in scans for part in scan if len(part.pmids)), default=0)
    best = np.zeros(highest + 1, np.int64)
    ranks: list[npt.NDArray[np.int64]] = []
    start = 1
    for records, deleted in scans:
        rank = (records.versions << 40) + np.arange(start, start + len(records.pmids))
        start += len(rank)
        ranks.append(rank)
        np.maximum.at(best, records.pmids, rank)
        removed = deleted.pmids[best[deleted.pmids] >> 40 <= deleted.versions]
        best[removed] = 0
    return [best[records.pmids] == rank for (records, _), rank in zip(scans, ranks, strict=True)]


def scan(path: Path) -> Scan:
    """The PMIDs and versions in a file."""
    records: list[tuple[bytes, bytes]] = []
    deleted: list[tuple[bytes, bytes]] = []
    as_expected = True
    with open_binary(path) as file, explain_read_errors(path, lambda: f"{len(records):,} citations"):
        rest = b""
        while as_expected and (block := file.read(_SCAN_BLOCK)):
            rest += block
            # The backward search is slow and rarely finds anything.
            deletion = rest.rfind(b"<DeleteCitation") if b"<DeleteCitation" in rest else 0
            cut = max(rest.rfind(b"<MedlineCitation"), deletion)
            if cut <= 0 and len(rest) > _SCAN_BLOCK:  # a long citation, or no tag at all
                cut = rest.rfind(b"<", 0, len(rest) - _LONGEST_TAG)
            as_expected = _collect(rest[: max(cut, 0)], records, deleted)
            rest = rest[max(cut, 0) :]
            as_expected = as_expected and len(rest) <= _LONGEST_SCANNED  # the parser explains what is wrong
        as_expected = as_expected and _collect(rest, records, deleted)
    return Scan(_versions(path, records), _versions(path, deleted)) if as_expected and records else _parsed_scan(path)


def _parsed_scan(path: Path) -> Scan:
    """The same by the parser of `read`, for any spelling that XML allows."""
    records: list[tuple[bytes, bytes]] = []
    deleted: list[tuple[bytes, bytes]] = []
    with open_binary(path) as file, _explain_errors(path, lambda: records[-1][1].decode() if records else ""):
        for element, line in _elements(path, file, Census(), "MedlineCitation", "DeleteCitation"):
            found = records if element.tag == "MedlineCitation" else deleted
            pmids = list(element.iterchildren("PMID"))
            for pmid in pmids[:1] if element.tag == "MedlineCitation" else pmids:
                version, number = (pmid.get("Version") or "1").strip(), (pmid.text or "").strip()
                if not (version.isdecimal() and number.isdecimal()):
                    raise UserError(
                        f"{path}: line {line + pmid.sourceline:,}: a PMID that is no number, or its Version"
                    )
                found.append((version.encode(), number.encode()))
            if not pmids and element.tag == "MedlineCitation":
                raise UserError(f"{path}: line {line + element.sourceline:,}: a MedlineCitation without a PMID")
    return Scan(_versions(path, records), _versions(path, deleted))


def scan_all(paths: Sequence[Path]) -> list[Scan]:
    """Scan files sequentially."""
    return [scan(path) for path in paths]


def save_scans(scans: Sequence[Scan], path: Path) -> None:
    counts = [len(part.pmids) for scan in scans for part in scan]
    columns = (np.concatenate([part[column] for scan in scans for part in scan]) for column in range(2))
    with path.open("wb") as file:
        np.savez(file, np.array(counts, np.int64), *columns, allow_pickle=False)


def load_scans(path: Path) -> list[Scan]:
    with np.load(path, allow_pickle=False) as arrays:
        counts, pmids, versions = (arrays[f"arr_{number}"] for number in range(3))
    ends = np.cumsum(counts)[:-1]
    parts = [Versions(*columns) for columns in zip(np.split(pmids, ends), np.split(versions, ends), strict=True)]
    return [Scan(*pair) for pair in zip(parts[::2], parts[1::2], strict=True)]


def _collect(block: bytes, records: list[tuple[bytes, bytes]], deleted: list[tuple[bytes, bytes]]) -> bool:
    """Append what the block has; return whether everything in it was in the expected spelling."""
    found = _CITATION.findall(block)
    records += found
    hidden = b"<!--" in block or b"<![CDATA[" in block
    as_expected = len(found) == len(CITATION_TAG.findall(block)) and not hidden
    if b"<DeleteCitation" in block:
        groups = _DELETED.findall(block)
        as_expected &= len(groups) == block.count(b"<DeleteCitation")
        for group in groups:
            pmids = re.findall(_PMID, group)
            as_expected &= len(pmids) == group.count(b"<PMID")
            deleted += pmids
    return as_expected


def _versions(path: Path, matches: list[tuple[bytes, bytes]]) -> Versions:
    for version, pmid in matches:
        if len(pmid) > len(str(_MOST_PMID)) or len(version) > len(str(_MOST_VERSION)):
            raise UserError(
                f"{path}: a PMID of {len(pmid):,} digits with a version of {len(version):,}; expected at most "
                f"{len(str(_MOST_PMID))} and {len(str(_MOST_VERSION))}: download the file again"
            )
    pmids = np.array([int(pmid) for _, pmid in matches], np.int64)
    return Versions(pmids, np.array([int(version or 1) for version, _ in matches], np.int64))


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
    with _open_span(span) if span else open_binary(path) as file, _explain_errors(path, lambda: pmid):
        for citation, _ in _elements(path, file, left_out, "MedlineCitation", "PubmedBookArticle"):
            if citation.tag == "PubmedBookArticle":
                left_out.add_element("books", citation)
                continue
            pmid = citation.findtext("PMID", "").strip()
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


@contextmanager
def _explain_errors(path: Path, last_pmid: Callable[[], str]) -> Iterator[None]:
    """As `explain_read_errors`, and for malformed XML; both name the last PMID."""
    try:
        with explain_read_errors(path, lambda: f"PMID {last_pmid()}" if last_pmid() else "its first bytes"):
            yield
    except etree.XMLSyntaxError as error:
        near = f"after PMID {last_pmid()}" if last_pmid() else "before any citation"
        raise UserError(f"{path}: malformed XML at line {error.lineno}, {near} ({message_of(error)})") from error


def _elements(path: Path, file: BinaryIO, left_out: Census, *tags: str) -> Iterator[tuple[Any, int]]:
    """The elements with these tags, each with the number of lines before its document.

    An element is freed when the next one is requested, with all that precedes it.
    """
    budget = Budget(str(path), " or ".join(f"a {tag}" for tag in tags))
    parser, first_line, line = _parser(tags), 0, 0
    for piece, is_new in split_at_declarations(_pruned_blocks(path, file, left_out)):
        if is_new:
            parser.close()
            parser, first_line = _parser(tags), line
        budget.add(piece)
        syntax_error = _feed(parser, piece)
        line += piece.count(b"\n")
        for _, element in parser.read_events():
            budget.reset()
            yield element, first_line
            element.clear()
            while (parent := element.getparent()) is not None:
                while element.getprevious() is not None:
                    del parent[0]
                element = parent
        if syntax_error:
            syntax_error.lineno = first_line + (syntax_error.lineno or 1)
            raise syntax_error
    parser.close()


def _parser(tags: tuple[str, ...]) -> Any:
    return etree.XMLPullParser(tag=tags, no_network=True, remove_comments=True, remove_pis=True)


def _feed(parser: Any, block: bytes) -> etree.XMLSyntaxError | None:
    """Feed a block and return its syntax error, to be raised after the citations before it have been read."""
    try:
        parser.feed(block)
    except etree.XMLSyntaxError as error:
        return error
    return None


def _pruned_blocks(path: Path, file: BinaryIO, left_out: Census) -> Iterator[bytes]:
    """The file in blocks without references, authors and the like, which are three quarters of its bytes.

    Their line breaks are kept, so that the parser's line numbers are those of the file. Corruption inside removed
    elements is not detected; corruption of their tags is, because no removal spans the start of another such element.
    """
    rest = b""
    while block := file.read(_PARSE_BLOCK):
        rest += block
        cut = min([_unclosed(rest, opening, closing) for _, opening, closing, _ in _REMOVED])
        if len(rest) - cut > XML_BYTES:
            raise TooLargeError(
                f"{path}: more than {XML_BYTES:,} bytes without the end of an element; expected citations"
            )
        yield _prune(rest[:cut], left_out)
        rest = rest[cut:]
    yield rest


def _unclosed(block: bytes, opening: bytes, closing: bytes) -> int:
    """The position of an element that does not end in the block, or of the last tag if there is none."""
    start = block.rfind(opening)
    return start if start >= 0 and block.find(closing, start) < 0 else max(block.rfind(b"<"), 0)


def _prune(block: bytes, left_out: Census) -> bytes:
    for kind, opening, closing, replacement in _REMOVED:
        kept, end, removed = [], 0, []
        while (start := block.find(opening, end)) >= 0:
            close = block.find(closing, start)
            if close < 0 or block.find(opening, start + 1, close) >= 0:
                break
            kept += [block[end:start], b"\n" * block.count(b"\n", start, close), replacement]
            end = close + len(closing)
            removed.append(block[start:end])
        left_out.add_counts(kind, len(removed), markup_text_length(b"".join(removed)))
        block = b"".join([*kept, block[end:]])
    return block


def _document(citation: Any, pmid: str, source: PubMedSource, left_out: Census) -> Document | None:
    article = citation.find("Article")
    if article is None:
        left_out.add_element("citations without an article", citation)
        return None
    parts = {part.tag: part for part in article}
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
    others = (part for part in article if part.tag not in _TEXT_PARTS)
    left_out.add_counts(
        "metadata", 1, sum(len(each.text.strip()) for part in others for each in part.iter() if each.text)
    )
    retracted = any(kind.get("UI") == _RETRACTED for kind in parts.get("PublicationTypeList", ()))
    language = " ".join((parts["Language"].text or "").split()) if "Language" in parts else ""
    meta = {"pmid": pmid, "language": language, "retracted": str(retracted).lower()}
    return Document(pmid, source.name, "\n".join([title, *lines] if title else lines), meta)


def _paragraph(part: Any, source: PubMedSource) -> str:
    text, label = _text(part, source), part.get("Label", "").strip()
    return f"{label}: {text}" if text and label and label != "UNLABELLED" else text


def _text(element: Any, source: PubMedSource) -> str:
    """All text inside an element, in order, without inline markup; line breaks become spaces."""
    if element is None:
        return ""
    if not len(element):
        return " ".join((element.text or "").split())
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
    return " ".join(write_scripts(element_text(element), source.scripts).split())
