"""Large files in ranges of records, so that one file is read by many processes, each its own part.

A first pass over the file finds where records begin and proves it; it takes about a percent of the time of
tokenizing. A file for which there is no proof is read by one process, which gives its documents or the error.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

from ...configs.limits import RECORD_CHARACTERS, XML_BYTES
from ..corpora import mimic_notes, pmc, tables
from ..corpora.articles.pubmed_versions import CITATION_TAG
from ..corpora.mimic_notes import MimicNotesSource
from ..corpora.pmc import PmcSource
from ..corpora.pubmed import PubMedSource
from ..corpora.readers import AnySource
from ..corpora.tables import TableSource
from ..documents.csv_records import csv_form
from ..documents.files import open_text
from ..documents.spans import Span
from ..documents.tar_package import member_starts
from .csv_ranges import NotDivisibleError, Range, csv_ranges

RANGE_BYTES = 1 << 24
"""Of one range; a file of less than two is not divided."""

_ASCII = bytes(range(128))
_BYTES = bytes(range(256))
_FIRST_TAG = b"<PubmedArticle>"
_HEAD = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml(?![^>]*encoding=(?!.utf-8))[^>]*\?>)?\s*(?:<!DOCTYPE[^>\[]*>)?\s*"
    rb"<PubmedArticleSet[^>]*>\s*",
    re.IGNORECASE,
)
_ARTICLE_ENDS = re.compile(rb"</PubmedArticle>\s*(?=<PubmedArticle>|<PubmedBookArticle|<DeleteCitation|\Z)")


def is_divisible(source: AnySource, path: Path) -> bool:
    """Whether files with this name are divided if they are large."""
    match source:
        case MimicNotesSource() | PubMedSource():
            return True
        case PmcSource():
            return pmc.is_package(path)
        case TableSource():
            return tables.table_form(path) is not None
    return False


def find_spans(source: AnySource, path: Path, content: Path, size: int) -> list[Span]:
    """The parts of a file, of about `size` bytes; `content` is the file itself, or what it was unpacked to.

    Raises:
        NotDivisibleError: its records do not end where they seem to.
        Exception: whatever reading a damaged file raises.
    """
    if isinstance(source, TableSource) and tables.table_form(path) == "parquet":
        return _with_records_before(content, _row_groups(content, size))
    with content.open("rb") as file:
        match source:
            case PubMedSource():
                return _with_records_before(content, _citation_ranges(file, size))
            case PmcSource():
                starts = [0, *_spread(member_starts(path, file), size), content.stat().st_size]
                return [Span(str(content), start, stop, 0, 0) for start, stop in pairwise(starts)]
            case TableSource() if tables.table_form(path) == "lines":
                with open_text(content, source.encoding) as text:
                    _require_bytes_of_ascii(text.encoding)
                return _with_records_before(content, _line_ranges(file, size))
            case MimicNotesSource():
                return _csv_spans(path, content, file, mimic_notes.REQUIRED, "utf-8", size)
            case TableSource():
                return _csv_spans(path, content, file, tables.required_columns(source), source.encoding, size)
    raise NotDivisibleError


def _csv_spans(
    path: Path, content: Path, file: BinaryIO, required: Iterable[str], encoding: str, size: int
) -> list[Span]:
    with open_text(content, encoding) as text:
        encoding = text.encoding
        form = csv_form(path, text, list(required))
    _require_bytes_of_ascii(encoding)
    file.seek(3 if file.read(3) == b"\xef\xbb\xbf" else 0)
    before = file.tell()
    ranges = [
        Range(part.start + before if part.start else 0, part.stop + before, part.records)
        for part in csv_ranges(file, form.delimiter, encoding, size)
    ]
    names = 1 + form.separator_line  # records that are no documents
    while len(ranges) > 1 and ranges[0].records < names:
        ranges[:2] = [Range(0, ranges[1].stop, ranges[0].records + ranges[1].records)]
    ranges[0] = ranges[0]._replace(records=ranges[0].records - names)
    return _with_records_before(content, ranges)


def _require_bytes_of_ascii(encoding: str) -> None:
    """Require that quotes and line breaks are found by their bytes."""
    name = encoding.lower().replace("_", "-")
    one_byte = len(_BYTES.decode(encoding, "replace")) == 256
    if _ASCII.decode(encoding, "replace") != _ASCII.decode() or not (name.startswith(("utf-8", "utf8")) or one_byte):
        raise NotDivisibleError


def _line_ranges(file: BinaryIO, size: int) -> Iterator[Range]:
    """Ranges of lines, counted as they are read: ended by a line feed, a carriage return or both."""
    start = 0
    while block := file.read(size):
        rest = file.readline(RECORD_CHARACTERS)
        if len(rest) == RECORD_CHARACTERS:
            raise NotDivisibleError
        block += rest
        lines = block.count(b"\n") + (block.count(b"\r") - block.count(b"\r\n") if b"\r" in block else 0)
        yield Range(start, start + len(block), lines)
        start += len(block)


def _citation_ranges(file: BinaryIO, size: int) -> Iterator[Range]:
    """Ranges of articles that follow one another in the root element, without anything that may hide tags."""
    rest, start = b"", 0
    while block := file.read(size):
        rest += block
        cut = rest.rfind(_FIRST_TAG)
        if cut <= 0 and len(rest) > size + XML_BYTES:
            raise NotDivisibleError
        if cut > 0 and len(rest) >= size and (start or rest.find(_FIRST_TAG) < cut):
            yield _checked(rest[:cut], start, is_last=False)
            rest, start = rest[cut:], start + cut
    yield _checked(rest, start, is_last=True)


def _checked(part: bytes, start: int, is_last: bool) -> Range:
    body = part
    if not start:
        head = _HEAD.match(part)
        if not head:
            raise NotDivisibleError
        body = part[head.end() :]
    if is_last:
        body, _, after = body.rpartition(b"</PubmedArticleSet>")
        if after.strip():
            raise NotDivisibleError
    ends = len(_ARTICLE_ENDS.findall(body))
    balanced = body.count(_FIRST_TAG) == body.count(b"</PubmedArticle>") == ends
    hidden = any(mark in body for mark in (b"<!", b"<?", b"PubmedArticleSet"))
    if (
        not balanced
        or hidden
        or not (is_last or body.rstrip().endswith((b"</PubmedArticle>", b"</PubmedBookArticle>")))
    ):
        raise NotDivisibleError
    return Range(start, start + len(part), len(CITATION_TAG.findall(part)))


def _row_groups(path: Path, wanted: int) -> Iterator[Range]:
    metadata = tables.open_parquet(path).metadata
    start = size = rows = 0
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        size, rows = size + group.total_byte_size, rows + group.num_rows
        if size >= wanted or number + 1 == metadata.num_row_groups:
            yield Range(start, number + 1, rows)
            start, size, rows = number + 1, 0, 0


def _spread(positions: Iterable[int], size: int) -> Iterator[int]:
    """Those positions that are at least the size of a range after the last one that was taken."""
    last = 0
    for position in positions:
        if position - last >= size:
            yield position
            last = position


def _with_records_before(content: Path, ranges: Iterable[Range]) -> list[Span]:
    spans, before = [], 0
    for start, stop, records in ranges:
        spans.append(Span(str(content), start, stop, before, records))
        before += records
    return spans
