"""Download of files that are listed on their publishers' pages: list, download, verify, resume.

A file gets its name only when it is complete, its checksum, if one is published, is correct, and it is data instead of
a page. Until then its content is in `<name>.part`; the name is fixed because a later run continues the file.
"""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

from ...configs.errors import UserError
from ...storage.files import hash_file
from ..parallel import ProgressCallback
from .publishers import Publisher
from .web import Web, is_page

CONNECTIONS = 3
_HREF = re.compile(r"""href=["']([^"'?#]+)["']""", re.IGNORECASE)
_MD5 = re.compile(r"\b[0-9a-f]{32}\b", re.IGNORECASE)
_PAGE_BYTES = 1 << 24
_START = 1 << 10
_SIGNATURES = {".gz": b"\x1f\x8b", ".zip": b"PK"}


def fetch(publisher: Publisher, directory: Path, progress: ProgressCallback) -> list[Path]:
    """Download the files that are missing and return all files of the corpus; each of several pages becomes a
    subdirectory.

    Raises:
        UserError: a file is unavailable, is not what its name says, or its checksum is wrong; completed downloads are
            kept.
    """
    web = Web(CONNECTIONS, publisher.advice)
    files = _list_files(web, publisher, directory)
    missing = [(url, path) for url, path in files if not path.is_file()]
    done = len(files) - len(missing)
    received = 0

    def count(size: int) -> None:
        nonlocal received
        received += size
        progress(done, len(files), received)

    progress(done, len(files), 0)
    with ThreadPoolExecutor(CONNECTIONS) as pool:
        futures = [pool.submit(_fetch_file, web, url, path, publisher.md5, count) for url, path in missing]
        try:
            for future in futures:
                future.result()
                done += 1
                progress(done, len(files), received)
        except BaseException:
            web.stop()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [path for _, path in files]


def _list_files(web: Web, publisher: Publisher, directory: Path) -> list[tuple[str, Path]]:
    """The addresses of the files to download, and their local paths."""
    files: list[tuple[str, Path]] = []
    for address in publisher.addresses:
        name = _name(address)
        if re.fullmatch(publisher.pattern, name):
            files.append((address, directory / name))
            continue
        folder = directory / name if len(publisher.addresses) > 1 else directory
        links = _files_on(web, address, publisher)
        names = list(links)[:1] if publisher.newest_only else sorted(links)
        files += [(links[name], folder / name) for name in names]
    return files


def _files_on(web: Web, page: str, publisher: Publisher) -> dict[str, str]:
    """The addresses of the files that a page, or the last of its folders, lists, by their names and in its order."""
    links = _links(web, page)
    files = {name: link for name, link in links.items() if re.fullmatch(publisher.pattern, name)}
    if files:
        return files
    folders = sorted(name for name in links if publisher.folders and re.fullmatch(publisher.folders, name))
    if folders:
        return _files_on(web, f"{links[folders[-1]].rstrip('/')}/", publisher)
    raise UserError(f"{page}: lists no file named like {publisher.pattern}; {publisher.advice}")


def _links(web: Web, page: str) -> dict[str, str]:
    """The addresses on a page by the last part of their path; of two with the same name, the first."""
    text = web.read(page, _PAGE_BYTES).data.decode("utf-8", "replace")
    links: dict[str, str] = {}
    for href in _HREF.findall(text):
        link = urljoin(page, href)
        if "/" not in (name := _name(link)):
            links.setdefault(name, link)
    return links


def _name(address: str) -> str:
    return unquote(urlsplit(address).path.rstrip("/").rsplit("/", 1)[-1])


def _fetch_file(web: Web, url: str, path: Path, md5: bool, count: Callable[[int], None]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    expected = _checksum(web, f"{url}.md5") if md5 else None
    for _ in range(2):
        web.retry(url, partial(web.resume, url, part, count), lambda: _size(part))
        if expected is None or hash_file(part, "md5") == expected:
            _require_data(web, url, part, path.suffix)
            part.rename(path)
            return
        part.unlink()
    raise UserError(f"{url}: downloaded twice with an MD5 other than that in {url}.md5 ({expected}); try again later")


def _checksum(web: Web, url: str) -> str:
    match = _MD5.search(web.read(url, _PAGE_BYTES).data.decode("utf-8", "replace"))
    if not match:
        raise UserError(f"{url}: contains no MD5 checksum; check whether a proxy answers instead of the publisher")
    return match[0].lower()


def _require_data(web: Web, url: str, part: Path, suffix: str) -> None:
    """Remove a file that is not data, since servers answer moved addresses with pages that begin like success."""
    with part.open("rb") as file:
        start = file.read(_START)
    if is_page(start) or not start.startswith(_SIGNATURES.get(suffix, b"")):
        part.unlink()
        seen = "an HTML page" if is_page(start) else f"something that is not {suffix}"
        raise UserError(f"{url}: is {seen} instead of data; {web.advice}, or check whether a proxy answers")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
