"""Which records of PubMed files are the newest of their citation.

A scan reads only the PMIDs and versions of a file, mostly without a parser; of all scans together, in the order of the
files, the newest records follow, with a few bytes of memory per citation.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from ....configs.errors import UserError
from ...documents.census import Census
from ...documents.files import explain_read_errors, open_binary
from .pubmed_records import elements, explain_errors

# NLM's own spelling, which is searched without a parser. Where a file has another one, or comments or CDATA that may
# hide tags, the scan parses it.
_PMID = rb'<PMID(?:\s+Version="(\d+)")?\s*>\s*(\d+)\s*</PMID>'
_CITATION = re.compile(rb"<MedlineCitation(?:\s[^>]*)?>\s*" + _PMID)
_DELETED = re.compile(rb"<DeleteCitation\s*>(.*?)</DeleteCitation>", re.DOTALL)
CITATION_TAG = re.compile(rb"<MedlineCitation[\s/>]")
_TAG, _DELETION = b"<MedlineCitation", b"<DeleteCitation"
_LONGEST_TAG = 1 << 10
_SCAN_BLOCK = 1 << 20
_LONGEST_SCANNED = 1 << 24
_MOST_PMID = 99_999_999  # NLM's own limit is eight digits; there is an array with a number per PMID
_MOST_VERSION = 9_999


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
            deletes = _DELETION in rest
            # The backward search is slow and rarely finds anything.
            cut = max(rest.rfind(_TAG), rest.rfind(_DELETION) if deletes else 0)
            if cut <= 0 and len(rest) > _SCAN_BLOCK:  # a long citation, or no tag at all
                cut = rest.rfind(b"<", 0, len(rest) - _LONGEST_TAG)
            as_expected = _collect(rest[: max(cut, 0)], records, deleted, deletes)
            rest = rest[max(cut, 0) :]
            as_expected = as_expected and len(rest) <= _LONGEST_SCANNED  # the parser explains what is wrong
        as_expected = as_expected and _collect(rest, records, deleted, _DELETION in rest)
    return Scan(_versions(path, records), _versions(path, deleted)) if as_expected and records else _parsed_scan(path)


def _parsed_scan(path: Path) -> Scan:
    """The same by the parser of `read`, for any spelling that XML allows."""
    records: list[tuple[bytes, bytes]] = []
    deleted: list[tuple[bytes, bytes]] = []
    with open_binary(path) as file, explain_errors(path, lambda: records[-1][1].decode() if records else ""):
        for element, line in elements(path, file, Census(), "MedlineCitation", "DeleteCitation"):
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


def _collect(
    block: bytes, records: list[tuple[bytes, bytes]], deleted: list[tuple[bytes, bytes]], deletes: bool
) -> bool:
    """Append what the block has; return whether everything in it was in the expected spelling."""
    at = block.find(_TAG)  # an expression would take ten times as long to get there
    while at >= 0:
        if match := _CITATION.match(block, at):
            records.append((match[1] or b"", match[2]))
        elif CITATION_TAG.match(block, at):
            return False
        at = block.find(_TAG, at + 1)
    as_expected = not _may_hide_tags(block)
    if deletes:
        groups = _DELETED.findall(block)
        as_expected &= len(groups) == block.count(_DELETION)
        for group in groups:
            pmids = re.findall(_PMID, group)
            as_expected &= len(pmids) == group.count(b"<PMID")
            deleted += pmids
    return as_expected


def _may_hide_tags(block: bytes) -> bool:
    """Whether it has comments or CDATA; found by their rarest character."""
    at = block.find(b"!")
    while at >= 0:
        if block.startswith((b"<!--", b"<![CDATA["), max(at - 1, 0)):
            return True
        at = block.find(b"!", at + 1)
    return False


def _versions(path: Path, matches: list[tuple[bytes, bytes]]) -> Versions:
    for version, pmid in matches:
        if len(pmid) > len(str(_MOST_PMID)) or len(version) > len(str(_MOST_VERSION)):
            raise UserError(
                f"{path}: a PMID of {len(pmid):,} digits with a version of {len(version):,}; expected at most "
                f"{len(str(_MOST_PMID))} and {len(str(_MOST_VERSION))}: download the file again"
            )
    pmids = np.array([int(pmid) for _, pmid in matches], np.int64)
    return Versions(pmids, np.array([int(version or 1) for version, _ in matches], np.int64))
