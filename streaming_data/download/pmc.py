"""PMC's articles, as they are published one by one: select by licence, download, verify, pack, resume.

Each article is two requests: its metadata, which decides, and its XML, whose MD5 the metadata gives. A package is
written when all articles of its range are there, and only then; a package that exists and agrees with the newest
inventory costs no request, so the same command continues after a kill, and later brings what has changed.
"""

import os
import shutil
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from pydantic import TypeAdapter

from ...configs.errors import UserError
from ...configs.json_text import read_json
from ...storage.files import atomic_write
from ...storage.locks import lock
from ..parallel import ProgressCallback
from .pmc_articles import Brought, Selection, bring
from .pmc_bucket import Candidate, Candidates, find_articles, open_bucket
from .pmc_package import SPAN, Article, pack, package_path, read_index, read_members, write_package
from .web import Web

CONNECTIONS = 64
_MOST_FAILURES = 100
_MOST_SHOWN = 5
_SELECTION = "selection.json"
_INVENTORIES = ".inventory"


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


@dataclass
class _Package:
    """A package that is to be written: what it has already, and what is on its way."""

    path: Path
    selection: str
    candidates: list[Candidate]
    present: dict[str, Article]
    is_current: bool
    coming: "dict[str, Future[Brought]]" = field(default_factory=dict)


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
            request = partial(bring, bucket, selection)
            packages = (_start(package, pool, request) for package in _packages(candidates, directory, selection))
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
        write_package(package.path, package.selection, articles, members)
    return articles


def _start(package: _Package, pool: ThreadPoolExecutor, request: Callable[[Candidate], Brought]) -> _Package:
    """Request what a package lacks."""
    for candidate in package.candidates:
        if candidate.name not in package.present:
            package.coming[candidate.name] = pool.submit(request, candidate)
    return package


def _ahead(packages: Iterator[_Package], requests: int) -> Iterator[_Package]:
    """The packages in order, while the next ones are started, up to about so many requests."""
    started: deque[_Package] = deque()
    for package in packages:
        started.append(package)
        while len(started) > 1 and sum(len(waiting.coming) for waiting in started) > requests:
            yield started.popleft()
    yield from started


def _packages(candidates: Candidates, directory: Path, selection: Selection) -> Iterator[_Package]:
    """All packages, those with the newest articles first, with what they have already."""
    as_text = selection.model_dump_json()
    firsts = sorted({int(number) // SPAN * SPAN for number in candidates.numbers}, reverse=True)
    for first in firsts:
        path = package_path(directory, first)
        group = candidates.between(first, first + SPAN)
        known = read_index(path, as_text)
        wanted = {candidate.name: candidate.etag for candidate in group}
        present = {
            name: article for name, article in known.items() if wanted.get(name) == article.etag and not article.failed
        }
        yield _Package(path, as_text, group, present, is_current=len(present) == len(group) == len(known))


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
        lock(descriptor, directory, "another download is running here; wait until it ends")
        for left in directory.glob(".*.partial"):  # by a download that was killed
            left.unlink()
        yield
    finally:
        os.close(descriptor)
        if is_new and not any(directory.iterdir()):
            directory.rmdir()


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
