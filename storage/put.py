"""Files stored in an object store, each with the hashes by which the store confirms it."""

import hashlib
from pathlib import Path
from typing import NamedTuple

from .remote import persist, store_of

_CHUNK = 1 << 20


class LocalFile(NamedTuple):
    """A file to be stored under `name`, relative to the data set."""

    name: str
    path: Path
    size: int
    sha256: str
    md5: bytes


def local_file(directory: Path, path: Path) -> LocalFile:
    """A file below `directory`, read once for its hashes."""
    sha256, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            sha256.update(chunk)
            md5.update(chunk)
            size += len(chunk)
    return LocalFile(path.relative_to(directory).as_posix(), path, size, sha256.hexdigest(), md5.digest())


def put(file: LocalFile, url: str) -> None:
    """Store the file, trying again as `remote.persist` does."""
    store = store_of(url)
    assert store is not None
    persist(url, lambda deadline: store.put(file.path, url, file.sha256, file.md5))
