"""Download of public corpora from their publishers' servers: list, download, verify, resume.

A file gets its name only when it is complete and its checksum, if one is published, is correct. Until then its content
is in `<name>.part`; the name is fixed because a later run continues the file.
"""

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
from ...storage.files import hash_file
from ..parallel import ProgressCallback

Result = TypeVar("Result")
_NCBI = "https://ftp.ncbi.nlm.nih.gov"
_HREF = re.compile(r"""href=["']([^"'?#]+)["']""", re.IGNORECASE)
_MD5 = re.compile(r"\b[0-9a-f]{32}\b", re.IGNORECASE)
_BLOCK = 1 << 18
_CONNECTIONS = 3
_TIMEOUT_SECONDS = 30.0
_RETRY_DELAYS = (0.5, 2.0, 8.0, 20.0, 40.0)
_PERMANENT_ERRORS = (401, 403, 404, 410)


@dataclass(frozen=True)
class Collection:
    """Files that are listed on one or more pages of links.

    Attributes:
        indexes: addresses of the pages.
        pattern: matches the whole names of the files to download.
        md5: whether the checksum of each file is in `<name>.md5` next to it.
        newest_only: download only the first file of each page (CMS lists the newest first).
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
    # CMS's mappings of 2018, the last that it published, as plain tables.
    "gem": Collection(("https://data.nber.org/gem/",), r"icd9toicd10cmgem\.csv|icd10cmtoicd9gem\.csv"),
}


def fetch(collection: Collection, directory: Path, progress: ProgressCallback) -> list[Path]:
    """Download the files that are missing and return all files of the collection; each of several pages becomes a
    subdirectory.

    Raises:
        UserError: a file is unavailable or its checksum is wrong; completed downloads are kept.
    """
    files = _list_files(collection, directory)
    missing = [(url, path) for url, path in files if not path.is_file()]
    done = len(files) - len(missing)
    received = 0

    def count(size: int) -> None:
        nonlocal received
        received += size
        progress(done, len(files), received)

    progress(done, len(files), 0)
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        futures = [pool.submit(_fetch_file, url, path, collection.md5, count) for url, path in missing]
        try:
            for future in futures:
                future.result()
                done += 1
                progress(done, len(files), received)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [path for _, path in files]


def _list_files(collection: Collection, directory: Path) -> list[tuple[str, Path]]:
    """The addresses of the files to download, and their local paths."""
    files: list[tuple[str, Path]] = []
    for index in collection.indexes:
        links = [urljoin(index, link) for link in _HREF.findall(_with_retries(index, partial(_read, index)))]
        links_by_name = {unquote(urlsplit(link).path.rsplit("/", 1)[-1]): link for link in reversed(links)}
        names = [name for name in reversed(links_by_name) if re.fullmatch(collection.pattern, name) and "/" not in name]
        if not names:
            raise UserError(
                f"{index}: lists no file named like {collection.pattern}; the publisher may have moved it. Pass the "
                "page that lists the files with --index"
            )
        folder = (
            directory / urlsplit(index).path.rstrip("/").rsplit("/", 1)[-1]
            if len(collection.indexes) > 1
            else directory
        )
        selected = names[:1] if collection.newest_only else sorted(names)
        files += [(links_by_name[name], folder / name) for name in selected]
    return files


def _fetch_file(url: str, path: Path, md5: bool, count: Callable[[int], None]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    expected = _checksum(f"{url}.md5") if md5 else None
    for _ in range(2):
        _with_retries(url, lambda: _resume(url, part, count), lambda: _size(part))
        if expected is None or hash_file(part, "md5") == expected:
            part.rename(path)
            return
        part.unlink()
    raise UserError(f"{url}: downloaded twice with an MD5 other than that in {url}.md5 ({expected}); try again later")


def _checksum(url: str) -> str:
    match = _MD5.search(_with_retries(url, lambda: _read(url)))
    if not match:
        raise UserError(f"{url}: contains no MD5 checksum; check whether a proxy answers instead of the publisher")
    return match[0].lower()


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _resume(url: str, part: Path, count: Callable[[int], None]) -> None:
    """Append the missing bytes of the file; a truncated response is an error, and the bytes received are kept."""
    size = _size(part)
    try:
        response = _open(url, {"Range": f"bytes={size}-"} if size else {})
    except urllib.error.HTTPError as error:
        if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        if error.headers.get("Content-Range") == f"bytes */{size}":
            return  # the file was complete
        part.unlink()
        raise ConnectionError("the file has become shorter on the server") from error
    with response, part.open("ab" if response.status == http.client.PARTIAL_CONTENT else "wb") as file:
        length, received = response.headers.get("Content-Length"), 0
        while block := response.read(_BLOCK):
            file.write(block)
            received += len(block)
            count(len(block))
    if length is not None and received < int(length):
        raise ConnectionError(f"the connection ended after {received:,} of {int(length):,} bytes")


def _read(url: str) -> str:
    with _open(url, {}) as response:
        return bytes(response.read()).decode("utf-8", "replace")


def _open(url: str, headers: dict[str, str]) -> Any:
    agent = {"User-Agent": f"clinical-modernbert/{__version__}"}
    return urllib.request.urlopen(urllib.request.Request(url, headers=agent | headers), timeout=_TIMEOUT_SECONDS)


def _with_retries(url: str, attempt: Callable[[], Result], progress: Callable[[], int] = lambda: 0) -> Result:
    """The result of the attempt, retried with growing delays; without limit as long as `progress` grows."""
    tries, reached = 0, progress()
    while True:
        try:
            return attempt()
        except urllib.error.HTTPError as error:
            problem = f"the server responded {error.code} {error.reason}"
            if error.code in _PERMANENT_ERRORS:
                raise UserError(f"{url}: {problem}; check the address, the publisher may have moved it") from error
        except (OSError, http.client.HTTPException) as error:
            problem = str(error) or type(error).__name__
        tries, reached = (1, progress()) if progress() > reached else (tries + 1, reached)
        if tries > len(_RETRY_DELAYS):
            raise UserError(f"{url}: gave up after {tries} tries ({problem}); run the command again to continue")
        time.sleep(_RETRY_DELAYS[tries - 1])
