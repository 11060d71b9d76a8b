"""PMC's bucket, or a mirror of it: where its objects are, and which articles it has, from its daily inventory.

    PMC123.2/PMC123.2.xml                                               an article: its second version
    metadata/PMC123.2.json                                              its licence, and where its files are
    inventory-reports/pmc-oa-opendata/metadata/<time>/manifest.json     the inventory's files: gzipped CSV, no header

The inventory names every object in `metadata/` with its ETag, so nothing but its own folder is listed.
"""

import csv
import hashlib
import os
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Protocol
from urllib.parse import quote, urlsplit

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field, ValidationError

from ...configs.errors import UserError
from ...configs.limits import INDEX_BYTES, TooLargeError
from ...storage.files import hash_file
from ..documents.files import explain_read_errors, open_text
from .web import Content, MissingError, Web

INVENTORY = "inventory-reports/pmc-oa-opendata/metadata/"
MD5 = re.compile(r"[0-9a-f]{32}")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d-\d\dZ")
_METADATA = re.compile(r"metadata/PMC(\d{1,9})\.(\d{1,4})\.json")
_FOLDER = re.compile(r"PMC(\d{1,9})\.(\d{1,4})")
_ETAG_BYTES = 16


class Bucket(Protocol):
    """Where the objects are."""

    def read(self, key: str, limit: int) -> Content:
        """The object, of at most `limit` bytes; MissingError if there is none."""

    def keep(self, key: str, path: Path) -> Path:
        """A local file with the object: its own in a directory, else a download, continued at `path`."""

    def inventories(self) -> list[str]:
        """The names of the inventories, newest first."""


class Candidate(NamedTuple):
    """The newest version of an article.

    Attributes:
        etag: of its metadata; 32 hexadecimal digits that change with it.
    """

    number: int
    version: int
    etag: str

    @property
    def name(self) -> str:
        return f"PMC{self.number}.{self.version}"


@dataclass(frozen=True)
class Candidates:
    """The newest versions of all articles, by ascending number.

    Attributes:
        numbers: of the PMCIDs, uint32 (articles,).
        versions: uint16 (articles,).
        etags: of their metadata, uint8 (articles, 16).
    """

    numbers: npt.NDArray[np.uint32]
    versions: npt.NDArray[np.uint16]
    etags: npt.NDArray[np.uint8]

    def between(self, first: int, end: int) -> list[Candidate]:
        """Those with a number from `first` to before `end`."""
        start, stop = np.searchsorted(self.numbers, np.array([first, end], dtype=self.numbers.dtype))
        return [
            Candidate(int(self.numbers[at]), int(self.versions[at]), self.etags[at].tobytes().hex())
            for at in range(int(start), int(stop))
        ]


def open_bucket(address: str, web: Web) -> Bucket:
    """The bucket or mirror at https://host/path or s3://bucket/prefix, read without credentials, or in a directory.

    Raises:
        UserError: there is no such directory.
    """
    if "://" not in address:
        return _Directory(Path(address).expanduser())
    scheme, _, rest = address.partition("://")
    if scheme != "s3":
        return _Server(f"{address.rstrip('/')}/", "", web)
    bucket, _, prefix = rest.strip("/").partition("/")
    endpoint = os.environ.get("S3_ENDPOINT_URL") or os.environ.get("AWS_ENDPOINT_URL")
    root = f"{endpoint.rstrip('/')}/{bucket}/" if endpoint else f"https://{bucket}.s3.amazonaws.com/"
    return _Server(root, f"{prefix}/" if prefix else "", web)


class _Server:
    """Objects at addresses below `root` and `prefix`, as in a bucket that everybody may read."""

    def __init__(self, root: str, prefix: str, web: Web) -> None:
        self._root, self._prefix, self._web = root, prefix, web

    def read(self, key: str, limit: int) -> Content:
        return self._web.read(self._address(key), limit)

    def keep(self, key: str, path: Path) -> Path:
        url = self._address(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._web.retry(
            url,
            lambda: self._web.resume(url, path, lambda size: None),
            lambda: path.stat().st_size if path.is_file() else 0,
        )
        return path

    def inventories(self) -> list[str]:
        """From S3's listing of the inventory's folder or, on another server, from its page of links."""
        prefix = quote(self._prefix + INVENTORY, safe="")
        for address in (f"{self._root}?list-type=2&delimiter=%2F&prefix={prefix}", self._address(INVENTORY)):
            try:
                text = self._web.read(address, INDEX_BYTES).data.decode("utf-8", "replace")
            except MissingError:
                continue
            if found := set(_MOMENT.findall(text)):
                return sorted(found, reverse=True)
        return []

    def _address(self, key: str) -> str:
        return self._root + quote(self._prefix + key)


class _Directory:
    """Objects as files, as `aws s3 sync` copies them."""

    def __init__(self, root: Path) -> None:
        if not root.is_dir():
            raise UserError(f"{root}: no such directory; expected a mirror of PMC's bucket, or an address with ://")
        self.root = root

    def read(self, key: str, limit: int) -> Content:
        path = self._path(key)
        if path.stat().st_size > limit:
            raise TooLargeError(f"{path}: more than {limit:,} bytes, which is no file of this kind")
        return Content(path.read_bytes(), "")

    def keep(self, key: str, path: Path) -> Path:
        return self._path(key)

    def inventories(self) -> list[str]:
        folder = self.root / INVENTORY
        names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        return sorted(filter(_MOMENT.fullmatch, names), reverse=True)

    def _path(self, key: str) -> Path:
        path = self.root / key
        if ".." in PurePosixPath(key).parts or not path.is_file():
            raise MissingError(f"{path}: no such file in this mirror")
        return path


class _InventoryFile(BaseModel):
    key: str = Field(pattern=r"[\w-]\.csv(\.gz)?$")
    size: int
    md5: str = Field(alias="MD5checksum", pattern=r"^[0-9a-f]{32}$")


class _Manifest(BaseModel):
    """What S3 writes next to an inventory."""

    format: str = Field(alias="fileFormat")
    columns: str = Field(alias="fileSchema")
    files: list[_InventoryFile]


def find_articles(bucket: Bucket, address: str, cache: Path, advice: str) -> Candidates:
    """The newest version of each article, from the newest inventory that is complete.

    A directory without an inventory is scanned instead.

    Args:
        cache: a directory for the inventory's files; a later call continues there.
    Raises:
        UserError: there is no inventory, it is damaged, or its form is unknown.
    """
    for moment in bucket.inventories():
        key = f"{INVENTORY}{moment}/manifest.json"
        try:
            content = bucket.read(key, INDEX_BYTES).data
        except MissingError:
            continue  # it is being written
        return _newest(_rows(bucket, f"{address}: {key}", content, cache / moment, advice))
    if isinstance(bucket, _Directory):
        return _newest(_scan(bucket.root))
    raise UserError(f"{address}: has no inventory in {INVENTORY}; {advice}")


def _rows(bucket: Bucket, name: str, content: bytes, cache: Path, advice: str) -> Iterator[tuple[int, int, bytes]]:
    """Number, version and ETag of each metadata object in an inventory."""
    try:
        manifest = _Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "its start"
        raise UserError(f"{name}: is not the manifest of an inventory ({where}: {first['msg']}); {advice}") from error
    columns = [column.strip() for column in manifest.columns.split(",")]
    if manifest.format != "CSV" or not {"Key", "ETag"} <= set(columns):
        raise UserError(
            f"{name}: an inventory in {manifest.format} of {manifest.columns}; expected CSV of Key and ETag"
        )
    any_article = False
    for file in manifest.files:
        for key, etag in _read_rows(_verified(bucket, file, cache), columns):
            if match := _METADATA.fullmatch(key):
                any_article = True
                yield int(match[1]), int(match[2]), _etag_bytes(etag.strip('"'))
    if not any_article:
        raise UserError(f"{name}: names no object like metadata/PMC123.1.json; {advice}")


def _read_rows(path: Path, columns: list[str]) -> Iterator[tuple[str, str]]:
    """Key and ETag of each row."""
    key_at, etag_at, number = columns.index("Key"), columns.index("ETag"), 0
    with open_text(path) as text, explain_read_errors(path, lambda: f"row {number:,}"):
        for row in csv.reader(text):
            number += 1
            if len(row) != len(columns):
                raise UserError(f"{path}: row {number:,} has {len(row)} columns; expected {', '.join(columns)}")
            yield row[key_at], row[etag_at]


def _verified(bucket: Bucket, file: _InventoryFile, cache: Path) -> Path:
    """A file of the inventory with the size and the MD5 of its manifest."""
    download = cache / PurePosixPath(file.key).name
    for _ in range(3):
        path = bucket.keep(file.key, download)
        if path.stat().st_size == file.size and hash_file(path, "md5") == file.md5:
            return path
        download.unlink(missing_ok=True)
    raise UserError(
        f"{file.key}: has another size or MD5 than in its manifest ({file.size:,} bytes, {file.md5}); try again later"
    )


def _etag_bytes(etag: str) -> bytes:
    """16 bytes that change with the ETag: itself if it is an MD5."""
    return bytes.fromhex(etag) if MD5.fullmatch(etag) else hashlib.md5(etag.encode(), usedforsecurity=False).digest()


def _scan(root: Path) -> Iterator[tuple[int, int, bytes]]:
    """The articles of a mirror without an inventory, by the names, sizes and times of its metadata files."""
    metadata = root / "metadata"
    if metadata.is_dir():
        found = ((_METADATA.fullmatch(f"metadata/{entry.name}"), Path(entry.path)) for entry in os.scandir(metadata))
    else:
        found = ((_FOLDER.fullmatch(entry.name), Path(entry.path, f"{entry.name}.json")) for entry in os.scandir(root))
    for match, path in found:
        if match and path.is_file():
            state = path.stat()
            yield int(match[1]), int(match[2]), _etag_bytes(f"{state.st_size} {state.st_mtime_ns}")


def _newest(rows: Iterator[tuple[int, int, bytes]]) -> Candidates:
    """The rows with the highest version of their number; there are millions, so they are packed at once."""
    numbers, versions, etags = array("I"), array("H"), bytearray()
    for number, version, etag in rows:
        numbers.append(number)
        versions.append(version)
        etags += etag
    all_numbers, all_versions = np.array(numbers, dtype=np.uint32), np.array(versions, dtype=np.uint16)
    order = np.lexsort((all_versions, all_numbers))
    ordered = all_numbers[order]
    newest = order[np.append(ordered[1:] != ordered[:-1], True)] if len(order) else order
    etag_rows = np.frombuffer(etags, dtype=np.uint8).reshape(-1, _ETAG_BYTES)
    return Candidates(all_numbers[newest], all_versions[newest], etag_rows[newest])


def key_of(url: str) -> str:
    """The key in s3://bucket/key?md5=..."""
    return urlsplit(url).path.lstrip("/")
