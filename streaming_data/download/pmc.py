"""PMC's articles, as they are published one by one: select by licence, download, verify, pack, resume.

Each article is two requests: its metadata, which decides, and its XML, whose MD5 the metadata gives. A package is
written when all articles of its range are there, and only then; a package that exists and agrees with the newest
inventory costs no request, so the same command continues after a kill, and later brings what has changed.
"""

import fcntl
import hashlib
import logging
import os
import re
import shutil
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from ...configs.errors import UserError
from ...configs.limits import XML_BYTES, TooLargeError
from ...configs.spelling import did_you_mean
from ...storage.files import atomic_write
from ...storage.json_text import read_json
from ..parallel import ProgressCallback
from .pmc_bucket import MD5, Bucket, Candidate, Candidates, find_articles, key_of, open_bucket
from .pmc_package import SPAN, Article, pack, package_path, read_index, read_members, write_package
from .publishers import CHECKED
from .web import Content, MissingError, RefusedError, Web, WrongContentError, is_page

logger = logging.getLogger(__name__)

ANY = "any"
TEXT_MINING = "TDM"
COMMERCIAL = ("CC BY", "CC BY-ND", "CC BY-SA", "CC0")
LICENCES = (*COMMERCIAL, "CC BY-NC", "CC BY-NC-SA", "CC BY-NC-ND", TEXT_MINING)
"""The codes that were known on the date of the addresses; PMC may add others."""
CONNECTIONS = 64
_TRIES = 3
_MOST_FAILURES = 100
_MOST_SHOWN = 5
_METADATA_BYTES = 1 << 24
_SELECTION = "selection.json"
_INVENTORIES = ".inventory"


class Selection(BaseModel):
    """Which articles a directory holds.

    Attributes:
        licences: values of `license_code`; `any` for all of the open-access subset.
        retracted: whether retracted articles are included.
        scanned: whether articles are included whose text was recognized from scans.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    licences: tuple[str, ...] = COMMERCIAL
    retracted: bool = False
    scanned: bool = False

    def reason_against(self, metadata: "Metadata") -> str | None:
        """Why an article is left out; None if it is selected."""
        # Author manuscripts may be mined, but are outside the open-access subset.
        mined = metadata.is_manuscript and TEXT_MINING in self.licences
        if metadata.is_retracted and not self.retracted:
            return "retracted"
        if not metadata.is_pmc_openaccess and not mined:
            return "outside the open-access subset"
        if ANY not in self.licences and metadata.license_code not in self.licences:
            return f"licence {metadata.license_code or 'without a code'}"
        if metadata.is_historical_ocr and not self.scanned:
            return "recognized from a scan"
        return None if metadata.xml_url else "without XML"


class Metadata(BaseModel):
    """What PMC says about one version of an article; what decides about its use must be there."""

    pmcid: str
    version: int
    is_pmc_openaccess: bool
    is_retracted: bool
    license_code: str | None
    is_manuscript: bool = False
    is_historical_ocr: bool = False
    xml_url: str | None = None


@dataclass
class Result:
    """What a directory holds after a download.

    Attributes:
        packages: in the order of their articles.
        kept: the number of articles.
        left_out: how many others there are, by the reason.
        failed: why articles could not be brought; another try may help.
    """

    packages: list[Path] = field(default_factory=list)
    kept: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)
    failed_in_a_row: int = 0

    def require_complete(self) -> None:
        """Raises UserError if an article could not be brought, or if there is none at all."""
        if self.failed:
            shown = "; ".join(self.failed[:_MOST_SHOWN]) + ("; ..." if len(self.failed) > _MOST_SHOWN else "")
            raise UserError(
                f"{len(self.failed):,} articles could not be brought ({shown}); run the command again to try them again"
            )
        if not self.kept:
            raise UserError("no article was selected; see what was left out above, and choose another --licence")

    def add(self, path: Path, articles: list[Article]) -> None:
        """Count the articles of a package.

        Raises:
            UserError: so many could not be brought, one after the other, that the others will not come either.
        """
        self.packages.append(path)
        for article in articles:
            self.failed_in_a_row = self.failed_in_a_row + 1 if article.failed else 0
            if self.failed_in_a_row > _MOST_FAILURES:
                raise UserError(
                    f"{self.failed_in_a_row:,} articles in a row could not be brought, the last {article.name}: "
                    f"{article.left_out}"
                )
            if article.failed:
                self.failed.append(f"{article.name}: {article.left_out}")
            elif article.left_out is not None:
                self.left_out[article.left_out] += 1
            else:
                self.kept += 1


class _Brought(NamedTuple):
    """An article as it came: its record and, if it is selected, its member of the package."""

    article: Article
    member: bytes | None
    size: int = 0


@dataclass
class _Package:
    """A package that is to be written: what it has already, and what is on its way."""

    path: Path
    candidates: list[Candidate]
    present: dict[str, Article]
    is_current: bool
    coming: "dict[str, Future[_Brought]]" = field(default_factory=dict)


def licence_codes(names: list[str]) -> tuple[str, ...]:
    """The codes as PMC writes them, sorted: `cc-by-nc` is `CC BY-NC`. A code that is not known gives a warning."""
    known = {re.sub(r"[\W_]", "", code).lower(): code for code in (*LICENCES, ANY)}
    codes = {known.get(re.sub(r"[\W_]", "", name).lower(), name) for name in names}
    for code in sorted(codes - set(known.values())):
        logger.warning(
            f"--licence {code}: not a code that was known on {CHECKED}{did_you_mean(code, known.values())} "
            f"(known: {', '.join(known.values())})"
        )
    return tuple(sorted(codes))


def fetch(
    address: str,
    directory: Path,
    selection: Selection,
    progress: ProgressCallback,
    *,
    advice: str,
    connections: int = CONNECTIONS,
    limit: int | None = None,
) -> Result:
    """Bring the selected articles of a bucket or mirror up to its newest inventory, the newest articles first.

    Args:
        address: see `open_bucket`.
        progress: receives the articles that are decided, their number, and the bytes received.
        advice: what to do if the address is not what it was.
        limit: stop after the package with which this many articles are there.
    Raises:
        UserError: the bucket or its inventory cannot be read, the directory holds another selection, or the server
            remains unavailable. Finished packages are kept.
    """
    web = Web(connections, advice)
    bucket = open_bucket(address, web)
    with _locked(directory), ThreadPoolExecutor(connections) as pool:
        try:
            _require_same(directory / _SELECTION, selection)
            candidates = find_articles(bucket, address, directory / _INVENTORIES, advice)
            _remove_older(directory / _INVENTORIES)
            atomic_write(directory / _SELECTION, selection.model_dump_json(indent=2) + "\n")
            packages = (
                _start(package, partial(pool.submit, _bring, bucket, selection))
                for package in _packages(candidates, directory)
            )
            return _finish_all(_ahead(packages, SPAN + 2 * connections), len(candidates.numbers), progress, limit)
        except BaseException:
            web.stop()
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _finish_all(packages: Iterator[_Package], total: int, progress: ProgressCallback, limit: int | None) -> Result:
    result, done, received = Result(), 0, 0

    def count(size: int) -> None:
        nonlocal done, received
        done, received = done + 1, received + size
        progress(done, total, received)

    progress(0, total, 0)
    for package in packages:
        result.add(package.path, _finish(package, count))
        if limit is not None and result.kept >= limit:
            break
    result.packages.reverse()
    return result


def _finish(package: _Package, count: Callable[[int], None]) -> list[Article]:
    """Wait for all articles of a package, and write it if it changes."""
    articles, members = [], []
    old = {} if package.is_current else read_members(package.path, package.present)
    for candidate in package.candidates:
        name, size = candidate.name, 0
        if name in package.present:
            articles.append(package.present[name])
            members += [pack(f"{name}.xml", old[name])] if name in old else []
        else:
            article, member, size = package.coming[name].result()
            articles.append(article)
            members += [] if member is None else [member]
        count(size)
    if not package.is_current:
        write_package(package.path, articles, members)
    return articles


def _start(package: _Package, submit: "Callable[[Candidate], Future[_Brought]]") -> _Package:
    """Request what a package lacks."""
    for candidate in package.candidates:
        if candidate.name not in package.present:
            package.coming[candidate.name] = submit(candidate)
    return package


def _ahead(packages: Iterator[_Package], requests: int) -> Iterator[_Package]:
    """The packages in order, while the next ones are started, up to about so many requests."""
    started: deque[_Package] = deque()
    for package in packages:
        started.append(package)
        while len(started) > 1 and sum(len(waiting.coming) for waiting in started) > requests:
            yield started.popleft()
    yield from started


def _packages(candidates: Candidates, directory: Path) -> Iterator[_Package]:
    """All packages, those with the newest articles first, with what they have already."""
    firsts = sorted({int(number) // SPAN * SPAN for number in candidates.numbers}, reverse=True)
    for first in firsts:
        path = package_path(directory, first)
        group = candidates.between(first, first + SPAN)
        known = read_index(path)
        wanted = {candidate.name: candidate.etag for candidate in group}
        present = {
            name: article for name, article in known.items() if wanted.get(name) == article.etag and not article.failed
        }
        yield _Package(path, group, present, is_current=len(present) == len(group) == len(known))


def _bring(bucket: Bucket, selection: Selection, candidate: Candidate) -> _Brought:
    """An article with its metadata, after a few tries. What is wrong with it is in its record, so that others go on."""
    for _ in range(_TRIES - 1):
        brought = _try(bucket, candidate, selection)
        if not brought.article.failed:
            return brought
    return _try(bucket, candidate, selection)


def _try(bucket: Bucket, candidate: Candidate, selection: Selection) -> _Brought:
    name, record = candidate.name, partial(Article, name=candidate.name, etag=candidate.etag)
    try:
        metadata, size = _metadata(bucket, name)
        if reason := selection.reason_against(metadata):
            return _Brought(record(license_code=metadata.license_code, left_out=reason), None, size)
        data, md5 = _xml(bucket, metadata)
    except WrongContentError as error:  # or it was replaced in the meantime
        return _Brought(record(left_out=str(error), failed=True), None)
    except _WithdrawnError:
        return _Brought(record(left_out="in the inventory, but not there"), None)
    except RefusedError as error:
        return _Brought(record(left_out=str(error).partition(";")[0], failed=True), None)
    except TooLargeError:
        return _Brought(record(left_out=f"more than {XML_BYTES:,} bytes"), None)
    return _Brought(record(license_code=metadata.license_code, md5=md5), pack(f"{name}.xml", data), size + len(data))


class _WithdrawnError(Exception):
    """The article has no metadata any more."""


def _metadata(bucket: Bucket, name: str) -> tuple[Metadata, int]:
    """The metadata of an article and their size in bytes."""
    content = None
    for key in (f"metadata/{name}.json", f"{name}/{name}.json"):
        try:
            content = bucket.read(key, _METADATA_BYTES)
            break
        except MissingError:
            continue
    if content is None:
        raise _WithdrawnError
    if MD5.fullmatch(content.etag) and _md5(content.data) != content.etag:
        raise WrongContentError(f"its metadata have an MD5 other than their ETag ({content.etag})")
    try:
        metadata = Metadata.model_validate_json(content.data)
    except ValidationError as error:
        first = error.errors()[0]
        seen = "an HTML page" if is_page(content.data) else f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise WrongContentError(f"its metadata are not as expected ({seen})") from error
    if f"{metadata.pmcid}.{metadata.version}" != name:
        raise WrongContentError(f"its metadata are those of {metadata.pmcid}.{metadata.version}")
    return metadata, len(content.data)


def _xml(bucket: Bucket, metadata: Metadata) -> tuple[bytes, str]:
    """The XML of an article and its MD5, which its metadata or, if these have none, its ETag confirm."""
    assert metadata.xml_url is not None
    content: Content = bucket.read(key_of(metadata.xml_url), XML_BYTES)
    md5 = _md5(content.data)
    (stated,) = parse_qs(urlsplit(metadata.xml_url).query).get("md5", [""])[:1]
    for expected, source in ((stated.lower(), "metadata give"), (content.etag, "ETag gives")):
        if MD5.fullmatch(expected):
            if md5 != expected:
                raise WrongContentError(f"its XML has another MD5 ({md5}) than its {source} ({expected})")
            break
    if is_page(content.data):
        raise WrongContentError("is an HTML page instead of XML")
    return content.data, md5


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Keep other downloads away from a directory, which is removed if nothing came into it.

    Raises:
        UserError: another download is running there.
    """
    is_new = not directory.exists()
    directory.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        _lock(descriptor, directory)
        for left in directory.glob(".*.partial"):  # by a download that was killed
            left.unlink()
        yield
    finally:
        os.close(descriptor)
        if is_new and not any(directory.iterdir()):
            directory.rmdir()


def _lock(descriptor: int, directory: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UserError(f"{directory}: another download is running here; wait until it ends") from error
    except OSError as error:
        logger.debug(f"{directory}: this file system has no locks ({error.strerror})")


def _require_same(path: Path, selection: Selection) -> None:
    """Check that a directory, if it is not new, holds the same selection.

    Raises:
        UserError: it holds another.
    """
    if not path.exists():
        return
    advice = f"choose another directory with --out, or remove {path} to replace what is here"
    if (present := read_json(path, TypeAdapter(Selection), advice)) != selection:
        raise UserError(f"{path}: this directory holds another selection ({_difference(present, selection)}); {advice}")


def _difference(present: Selection, asked: Selection) -> str:
    return "; ".join(
        f"{name} {getattr(present, name)!r}, not {getattr(asked, name)!r}"
        for name in Selection.model_fields
        if getattr(present, name) != getattr(asked, name)
    )


def _remove_older(inventories: Path) -> None:
    """Remove the files of older inventories, which have some hundred megabytes each."""
    for folder in sorted(inventories.glob("*/"))[:-1]:
        shutil.rmtree(folder)
