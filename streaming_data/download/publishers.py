"""Public corpora from their publishers' servers: listed, downloaded, verified, and resumed where they stopped.

A file lies under its own name only when it is complete and its checksum, where one is published, is right. What has
arrived of it waits in `<name>.part`.
"""

import hashlib
import http.client
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urljoin, urlsplit

from ... import __version__
from ...configs.errors import UserError
from ..parallel import Report

Result = TypeVar("Result")
_NCBI = "https://ftp.ncbi.nlm.nih.gov"
_HREF = re.compile(r"""href=["']([^"'?#]+)["']""", re.IGNORECASE)
_MD5 = re.compile(r"\b[0-9a-f]{32}\b", re.IGNORECASE)
_BLOCK = 1 << 18
_CONNECTIONS = 3
_STALL_SECONDS = 30.0
_PAUSES = (0.5, 2.0, 8.0, 20.0, 40.0)
_GONE = (401, 403, 404, 410)


@dataclass(frozen=True)
class Collection:
    """Files on one or more pages of links.

    Attributes:
        indexes: the pages.
        pattern: of the names wanted there, in full.
        md5: whether each file has its checksum beside it, in `<name>.md5`.
        newest_only: the first file of the page only (CMS lists the newest first).
    """

    indexes: tuple[str, ...]
    pattern: str
    md5: bool = False
    newest_only: bool = False


COLLECTIONS = {
    "pubmed": Collection(
        (f"{_NCBI}/pubmed/baseline/", f"{_NCBI}/pubmed/updatefiles/"), r"pubmed\d+n\d+\.xml\.gz", md5=True
    ),
    "pmc": Collection((f"{_NCBI}/pub/pmc/oa_bulk/oa_comm/xml/",), r"oa_comm_xml\..*\.tar\.gz"),
    "icd10cm": Collection(
        ("https://ftp.cdc.gov/pub/Health_Statistics/NCHS/Publications/ICD10CM/2026/",),
        r"(?i:icd10cm-table-(?:and-)?index.*\.zip)",
    ),
    "hcpcs": Collection(
        ("https://www.cms.gov/medicare/coding-billing/healthcare-common-procedure-system/quarterly-update",),
        r"(?i:.*alpha-numeric-hcpcs-files?.*\.zip)",
        newest_only=True,
    ),
    # CMS's mappings of 2018, the last it made, as plain tables.
    "gem": Collection(("https://data.nber.org/gem/",), r"icd9toicd10cmgem\.csv|icd10cmtoicd9gem\.csv"),
}


def fetch(collection: Collection, directory: Path, report: Report) -> list[Path]:
    """Downloads what is not there yet and returns all the collection's files; pages become sub-directories if several.

    Raises:
        UserError: a file could not be had or its checksum is wrong; what arrived before stays and is not fetched again.
    """
    wanted = _list(collection, directory)
    missing = [(url, path) for url, path in wanted if not path.is_file()]
    done = len(wanted) - len(missing)
    received = 0

    def count(size: int) -> None:
        nonlocal received
        received += size
        report(done, len(wanted), received)

    report(done, len(wanted), 0)
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        futures = [pool.submit(_fetch_file, url, path, collection.md5, count) for url, path in missing]
        try:
            for future in futures:
                future.result()
                done += 1
                report(done, len(wanted), received)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [path for _, path in wanted]


def _list(collection: Collection, directory: Path) -> list[tuple[str, Path]]:
    """Addresses of the wanted files, and where they go."""
    found: list[tuple[str, Path]] = []
    for index in collection.indexes:
        links = [urljoin(index, link) for link in _HREF.findall(_retried(index, partial(_read, index)))]
        named = {unquote(urlsplit(link).path.rsplit("/", 1)[-1]): link for link in reversed(links)}
        names = [name for name in reversed(named) if re.fullmatch(collection.pattern, name) and "/" not in name]
        if not names:
            raise UserError(
                f"{index}: no file named like {collection.pattern} is listed there; has the publisher moved it? "
                "Give the page that lists them with --index"
            )
        folder = (
            directory / urlsplit(index).path.rstrip("/").rsplit("/", 1)[-1]
            if len(collection.indexes) > 1
            else directory
        )
        chosen = names[:1] if collection.newest_only else sorted(names)
        found += [(named[name], folder / name) for name in chosen]
    return found


def _fetch_file(url: str, path: Path, md5: bool, count: Callable[[int], None]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    expected = _checksum(f"{url}.md5") if md5 else None
    for _ in range(2):
        _retried(url, lambda: _continue(url, part, count), lambda: _size(part))
        if expected is None or _md5_of(part) == expected:
            part.rename(path)
            return
        part.unlink()
    raise UserError(f"{url}: arrived twice with another MD5 than {url}.md5 says ({expected}); try again later")


def _checksum(url: str) -> str:
    match = _MD5.search(_retried(url, lambda: _read(url)))
    if not match:
        raise UserError(f"{url}: holds no MD5 checksum; is a proxy answering in the publisher's place?")
    return match[0].lower()


def _md5_of(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.md5(usedforsecurity=False)
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _continue(url: str, part: Path, count: Callable[[int], None]) -> None:
    """Appends what is missing of the file; an answer that ends too soon is an error, and what arrived is kept."""
    have = _size(part)
    try:
        answer = _open(url, {"Range": f"bytes={have}-"} if have else {})
    except urllib.error.HTTPError as error:
        if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        if error.headers.get("Content-Range") == f"bytes */{have}":
            return  # nothing was missing
        part.unlink()
        raise ConnectionError("the file has become shorter on the server") from error
    with answer, part.open("ab" if answer.status == http.client.PARTIAL_CONTENT else "wb") as file:
        length, got = answer.headers.get("Content-Length"), 0
        while block := answer.read(_BLOCK):
            file.write(block)
            got += len(block)
            count(len(block))
    if length is not None and got < int(length):
        raise ConnectionError(f"the connection ended after {got:,} of {int(length):,} bytes")


def _read(url: str) -> str:
    with _open(url, {}) as answer:
        return bytes(answer.read()).decode("utf-8", "replace")


def _open(url: str, headers: dict[str, str]) -> Any:
    agent = {"User-Agent": f"clinical-modernbert/{__version__}"}
    return urllib.request.urlopen(urllib.request.Request(url, headers=agent | headers), timeout=_STALL_SECONDS)


def _retried(url: str, attempt: Callable[[], Result], progress: Callable[[], int] = lambda: 0) -> Result:
    """The result of the attempt, made again after growing pauses; as long as `progress` grows, without end."""
    tries, reached = 0, progress()
    while True:
        try:
            return attempt()
        except urllib.error.HTTPError as error:
            problem = f"the server answers {error.code} {error.reason}"
            if error.code in _GONE:
                raise UserError(f"{url}: {problem}; check the address, or whether the publisher moved it") from error
        except (OSError, http.client.HTTPException) as error:
            problem = str(error) or type(error).__name__
        tries, reached = (1, progress()) if progress() > reached else (tries + 1, reached)
        if tries > len(_PAUSES):
            raise UserError(f"{url}: gave up after {tries} tries ({problem}); start again to continue where it stopped")
        time.sleep(_PAUSES[tries - 1])
