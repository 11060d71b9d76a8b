"""Packages of PMC articles: `PMC0012345xxx.tar.gz` has the articles with the numbers 12345000 to 12345999.

Its first member, `index.json`, is the record of all articles in this range, those that were left out too. The others
are their XML files. Each member is compressed alone, so that many threads can do it; together they are one gzip file,
which tar reads. A package is written once and renamed: there is none that is half done. Its bytes depend on its
articles only.
"""

import gzip
import hashlib
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal, cast

from pydantic import BaseModel, ConfigDict

from ...configs.errors import UserError
from ...configs.limits import INDEX_BYTES, XML_BYTES
from ...storage.files import stage_file
from ..documents.bounded import read_at_once

SPAN = 1_000
"""Article numbers per package: 500 articles, of which 300 are kept, in 6 MB."""
_INDEX = "index.json"
_LEVEL = 6


class Article(BaseModel):
    """What is known about an article.

    Attributes:
        name: its PMCID and version: `PMC123.2`.
        etag: of its metadata, see `Candidate`.
        license_code: as PMC gives it, such as `CC BY`; None without one.
        md5: of its XML; None if it was left out.
        left_out: why it is not in the package; None if it is there.
        failed: whether another try may bring it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    etag: str
    license_code: str | None = None
    md5: str | None = None
    left_out: str | None = None
    failed: bool = False


class _Index(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1]
    selection: str
    articles: list[Article]


def package_path(directory: Path, first: int) -> Path:
    """The package of the numbers from `first`."""
    return directory / f"PMC{first // SPAN:07d}xxx.tar.gz"


def pack(name: str, data: bytes) -> bytes:
    """A member of a package, compressed."""
    member = tarfile.TarInfo(name)
    member.size = len(data)
    padding = bytes(-len(data) % tarfile.BLOCKSIZE)
    return gzip.compress(member.tobuf(tarfile.USTAR_FORMAT) + data + padding, _LEVEL, mtime=0)


def write_package(path: Path, selection: str, articles: list[Article], members: Iterable[bytes]) -> None:
    """Write a package in one step.

    Args:
        selection: by which articles were left out, in any form.
        members: made by `pack`, in the order of the articles that are not left out.
    """
    index = _Index(format=1, selection=selection, articles=articles).model_dump_json(exclude_defaults=True).encode()
    with stage_file(path) as staging, staging.open("wb") as file:
        file.write(pack(_INDEX, index))
        file.writelines(members)
        file.write(gzip.compress(bytes(2 * tarfile.BLOCKSIZE), _LEVEL, mtime=0))


def read_index(path: Path, selection: str) -> dict[str, Article]:
    """The articles of a package by their names; none if there is no package, or it is of another selection.

    Raises:
        UserError: the file is not one of our packages.
    """
    if not path.is_file():
        return {}
    with _explain(path), _open(path) as archive:
        member = archive.next()
        content = archive.extractfile(member) if member is not None and member.name == _INDEX else None
        if content is None:
            raise ValueError(f"its first member is not {_INDEX}")
        index = _Index.model_validate_json(read_at_once(cast(BinaryIO, content), INDEX_BYTES, str(path)))
    return {article.name: article for article in index.articles} if index.selection == selection else {}


def read_members(path: Path, wanted: Mapping[str, Article]) -> dict[str, bytes]:
    """The XML of those of the wanted articles that are in a package, by their names.

    Raises:
        UserError: one of them is damaged.
    """
    found: dict[str, bytes] = {}
    expected = {name: article.md5 for name, article in wanted.items() if article.left_out is None}
    if not expected:
        return found
    with _explain(path), _open(path) as archive:
        for member in archive:
            name = member.name.removesuffix(".xml")
            if name in expected and (content := archive.extractfile(member)) is not None:
                found[name] = read_at_once(cast(BinaryIO, content), XML_BYTES, f"{path}: {member.name}")
        for name, md5 in expected.items():
            if name not in found or hashlib.md5(found[name], usedforsecurity=False).hexdigest() != md5:
                raise ValueError(f"{name} is not as its index says")
    return found


@contextmanager
def _open(path: Path) -> Iterator[tarfile.TarFile]:
    """The package as a stream. `r|gz` of tarfile would end after the first of its gzip members."""
    with gzip.open(path) as file, tarfile.open(fileobj=file, mode="r|") as archive:
        yield archive


@contextmanager
def _explain(path: Path) -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise UserError(
            f"{path}: not a package of `cmbert data fetch pmc` ({type(error).__name__}: {str(error).splitlines()[0]}); "
            "remove it, and run the command again"
        ) from error
