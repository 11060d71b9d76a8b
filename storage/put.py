"""Upload of files to an object store, each with the hashes by which the store confirms it."""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from ..configs.errors import TransientError
from .remote import store_of, with_retries

_BLOCK = 1 << 20


class LocalFile(NamedTuple):
    """A file to upload as `name`, relative to the address of its data set or checkpoint."""

    name: str
    path: Path
    size: int
    sha256: str
    md5: bytes


def local_file(directory: Path, path: Path, count: Callable[[int], None] = lambda size: None) -> LocalFile:
    """Describe a file below `directory`. It is read once for both hashes (`hash_file` would read it twice).

    `count` is called with the size of each block that was read.
    """
    sha256, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            sha256.update(block)
            md5.update(block)
            size += len(block)
            count(len(block))
    return LocalFile(path.relative_to(directory).as_posix(), path, size, sha256.hexdigest(), md5.digest())


def put(file: LocalFile, url: str) -> None:
    """Upload the file, with the retries of `remote.with_retries`."""
    store = store_of(url)
    assert store is not None
    with_retries(url, lambda deadline: store.put(file.path, url, file.sha256, file.md5))


def require_stored(address: str, sizes: Mapping[str, int]) -> None:
    """Look in the store for the objects below `address`, by name and size in bytes.

    Raises:
        UserError: one cannot be seen. A TransientError if it has another size, or the store did not answer.
    """
    for name, size in sizes.items():
        if (stored := stored_size(f"{address}/{name}")) != size:
            raise TransientError(f"{address}/{name}: the store holds {stored:,} bytes where {size:,} were uploaded")


def stored_size(url: str) -> int:
    """Bytes of an object, as the store says, with the retries of `remote.with_retries`."""
    store = store_of(url)
    assert store is not None
    return with_retries(url, lambda deadline: store.size_and_sha256(url)[0])
