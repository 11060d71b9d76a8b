"""PubMed baseline and update files: the title and abstract of the newest version of every citation.

A first pass (`scan`, `newest`) reads only PMIDs and finds out which record is the newest of its citation and which
citations were deleted; a second pass (`read`) parses one file by itself. So the files can be read in any order, in
parallel and again, and the memory needed is some bytes a citation.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from lxml import etree

from ...configs.errors import UserError
from ..documents.clean import CleaningStep
from ..documents.document import Document
from ..documents.files import open_binary, reading
from .source import Source


class PubMedSource(Source):
    """PubMed baseline and update files (XML), oldest first: the newest version of a citation wins.

    Attributes:
        require_abstract: leave out the citations that are a title only (about a third of PubMed).
    """

    format: Literal["pubmed"]
    public: bool = True
    clean: list[CleaningStep] = ["encoding", "control_characters", "boilerplate"]
    split_by: str = "pmid"
    require_abstract: bool = False


_PMID = rb'<PMID(?:\s+Version="(\d+)")?\s*>\s*(\d+)\s*</PMID>'
_CITATION = re.compile(rb"<MedlineCitation(?:\s[^>]*)?>\s*" + _PMID)
_DELETED = re.compile(rb"<DeleteCitation\s*>(.*?)</DeleteCitation>", re.DOTALL)
_SCAN_BLOCK = 1 << 20
_PARSE_BLOCK = 1 << 20
# What is not read, the largest first, since what is cut away is not searched again: where it begins, where it ends, and
# what takes its place.
_SKIPPED = [
    (b"<PubmedData>", b"</PubmedData>", b""),
    (b"<AuthorList", b"</AuthorList>", b""),
    (b"</Article>", b"</MedlineCitation>", b"</Article></MedlineCitation>"),
    (b"<Journal>", b"</Journal>", b""),
]
_NO_TITLE = {"", "[Not Available]."}
_RETRACTED = "D016441"


class Versions(NamedTuple):
    """Citations by PMID and version, in the file's order: int64 (n,) each."""

    pmids: npt.NDArray[np.int64]
    versions: npt.NDArray[np.int64]


class Scan(NamedTuple):
    """The citations of a file, and those that it deletes."""

    records: Versions
    deleted: Versions


def newest(scans: Sequence[Scan]) -> list[npt.NDArray[np.bool_]]:
    """Which records of each file to keep: bool (records of the file,), one array for each file's scan.

    Of the records of one PMID the highest version wins, and of that the last one in the order of the files. A
    DeleteCitation deletes what stood before it, and nothing that comes in a later file.
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
        gone = deleted.pmids[best[deleted.pmids] >> 40 <= deleted.versions]
        best[gone] = 0
    return [best[records.pmids] == rank for (records, _), rank in zip(scans, ranks, strict=True)]


def scan(path: Path) -> Scan:
    """The PMIDs and versions in a file."""
    records: list[tuple[bytes, bytes]] = []
    deleted: list[tuple[bytes, bytes]] = []
    with open_binary(path) as file, reading(path, lambda: f"{len(records):,} citations"):
        rest = b""
        while block := file.read(_SCAN_BLOCK):
            rest += block
            # The search backwards is slow, and would mostly be in vain.
            deletion = rest.rfind(b"<DeleteCitation") if b"<DeleteCitation" in rest else 0
            cut = max(rest.rfind(b"<MedlineCitation"), deletion, len(rest) - _SCAN_BLOCK, 0)
            _collect(rest[:cut], records, deleted)
            rest = rest[cut:]
        _collect(rest, records, deleted)
    return Scan(_versions(records), _versions(deleted))


def scan_all(paths: Sequence[Path]) -> list[Scan]:
    """Of files, one after the other."""
    return [scan(path) for path in paths]


def save_scan(scan: Scan, path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, *scan.records, *scan.deleted)


def load_scan(path: Path) -> Scan:
    with np.load(path) as arrays:
        pmids, versions, deleted, of = (arrays[f"arr_{number}"] for number in range(4))
    return Scan(Versions(pmids, versions), Versions(deleted, of))


def _collect(block: bytes, records: list[tuple[bytes, bytes]], deleted: list[tuple[bytes, bytes]]) -> None:
    records += _CITATION.findall(block)
    if b"<DeleteCitation" in block:
        for group in _DELETED.findall(block):
            deleted += re.findall(_PMID, group)


def _versions(found: list[tuple[bytes, bytes]]) -> Versions:
    pmids = np.array([int(pmid) for _, pmid in found], np.int64)
    return Versions(pmids, np.array([int(version or 1) for version, _ in found], np.int64))


def read(path: Path, source: PubMedSource, keep: npt.NDArray[np.bool_]) -> Iterator[Document]:
    """The documents of one file's records that `keep` (of `newest`) marks."""
    pmid, number = "", 0
    with open_binary(path) as file, reading(path, lambda: f"PMID {pmid}" if pmid else "its first bytes"):
        try:
            for citation in _citations(file):
                pmid = citation.findtext("PMID", "").strip()
                if number < len(keep) and keep[number] and (document := _document(citation, pmid, source)):
                    yield document
                number += 1
        except etree.XMLSyntaxError as error:
            near = f"after PMID {pmid}" if pmid else "before any citation"
            raise UserError(f"{path}: malformed XML at line {error.lineno}, {near} ({error.msg})") from error
    if number == 0:
        raise UserError(f"{path}: holds no MedlineCitation; expected a PubMed baseline, update or export file in XML")
    if number != len(keep):
        raise UserError(f"{path}: changed while it was read: {len(keep)} citations, then {number}; start again")


def _citations(file: BinaryIO) -> Iterator[Any]:
    """The MedlineCitation elements, each freed when the next one is asked for."""
    parser: Any = etree.XMLPullParser(tag="MedlineCitation", no_network=True, remove_comments=True, remove_pis=True)
    for block in _pruned(file):
        damage = _feed(parser, block)
        for _, citation in parser.read_events():
            yield citation
            citation.clear()
            parent = citation.getparent()
            record = parent if parent.tag == "PubmedArticle" else citation
            while record.getprevious() is not None:
                del record.getparent()[0]
        if damage:
            raise damage
    parser.close()


def _feed(parser: Any, block: bytes) -> etree.XMLSyntaxError | None:
    """The damage found in a block, held back until the citations before it have been read."""
    try:
        parser.feed(block)
    except etree.XMLSyntaxError as error:
        return error
    return None


def _pruned(file: BinaryIO) -> Iterator[bytes]:
    """The file in blocks with references, authors and the like, three quarters of its bytes, cut away before parsing.

    Their line breaks stay, so that the parser's line numbers are the file's. Damage inside them goes unnoticed;
    damage to their own tags does not, as nothing is left out across the start of another such element.
    """
    rest = b""
    while block := file.read(_PARSE_BLOCK):
        rest += block
        cut = min([_unclosed(rest, opening, closing) for opening, closing, _ in _SKIPPED])
        yield _prune(rest[:cut])
        rest = rest[cut:]
    yield rest


def _unclosed(block: bytes, opening: bytes, closing: bytes) -> int:
    """Where such an element begins that does not end in the block, or the last tag if there is none."""
    start = block.rfind(opening)
    return start if start >= 0 and block.find(closing, start) < 0 else max(block.rfind(b"<"), 0)


def _prune(block: bytes) -> bytes:
    for opening, closing, instead in _SKIPPED:
        kept, end = [], 0
        while (start := block.find(opening, end)) >= 0:
            close = block.find(closing, start)
            if close < 0 or block.find(opening, start + 1, close) >= 0:
                break
            kept += [block[end:start], b"\n" * block.count(b"\n", start, close), instead]
            end = close + len(closing)
        block = b"".join([*kept, block[end:]])
    return block


def _document(citation: Any, pmid: str, source: PubMedSource) -> Document | None:
    article = citation.find("Article")
    if article is None:
        return None
    parts = {part.tag: part for part in article}
    title = _text(parts.get("ArticleTitle"))
    if title in _NO_TITLE:
        title = _text(parts.get("VernacularTitle"))
    abstract = [_paragraph(part) for part in parts.get("Abstract", ()) if part.tag == "AbstractText"]
    lines = [line for line in abstract if line]
    if source.require_abstract and not lines:
        return None
    retracted = any(kind.get("UI") == _RETRACTED for kind in parts.get("PublicationTypeList", ()))
    meta = {"pmid": pmid, "language": _text(parts.get("Language")), "retracted": str(retracted).lower()}
    return Document(pmid, source.name, "\n".join([title, *lines] if title else lines), meta)


def _paragraph(part: Any) -> str:
    text, label = _text(part), part.get("Label", "").strip()
    return f"{label}: {text}" if text and label and label != "UNLABELLED" else text


def _text(element: Any) -> str:
    """All text inside, in order, inline markup and MathML dropped; line breaks of the XML's layout become spaces."""
    if element is None:
        return ""
    text = "".join(element.itertext()) if len(element) else element.text or ""
    return " ".join(text.split())
