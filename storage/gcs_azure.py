"""Objects of Google Cloud Storage (gs://) and Azure (az://, abfs://); every wait is bounded.

The client for both is obstore, an optional package. It finds credentials where each cloud's own tools do
(GOOGLE_APPLICATION_CREDENTIALS, the machine's identity, ...; AZURE_STORAGE_ACCOUNT_NAME and a key, a SAS token, the
machine's identity, ...) and other endpoints in GOOGLE_BASE_URL and AZURE_STORAGE_ENDPOINT. As with S3, an attempt
fails within seconds, and the caller decides whether to retry (`remote.with_retries`).
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .patience import at_most

SCHEMES = ("gs", "az", "azure", "abfs", "abfss")
CONNECT_SECONDS = 10
READ_SECONDS = 20
_CHUNK_BYTES = 1 << 16
_OBJECT_SECONDS = 24 * 3600  # no limit in practice: the caller's deadline limits the time for one object
_STATUS = {
    "UnauthenticatedError": 401,
    "PermissionDeniedError": 403,
    "FileNotFoundError": 404,
    "AlreadyExistsError": 409,
}


class StoreError(Exception):
    """An error of the store, with its HTTP status if it refused the request."""

    def __init__(self, message: str, status_code: int | None) -> None:
        super().__init__(message)
        self.status_code = status_code


def get(url: str, path: Path, on_progress: Callable[[int], None]) -> None:
    """Download the object to `path`.

    Args:
        on_progress: called with the number of bytes received after each 64 KB; it raises to abort.
    """
    with path.open("wb") as file:
        for chunk in _chunks(url):
            file.write(chunk)
            on_progress(file.tell())


def names(url: str) -> list[str]:
    """List the objects below the URL, by their names relative to it."""
    store, prefix = _store_and_key(url)
    with _as_store_errors():
        entries = [entry["path"] for page in _obstore().list(store, f"{prefix}/") for entry in page]
    return [entry.removeprefix(f"{prefix}/") for entry in entries]


def size_and_sha256(url: str) -> tuple[int, str]:
    """Size and hash of an object, which is read back: neither cloud verifies a SHA-256 when it stores an object."""
    digest, size = hashlib.sha256(), 0
    for chunk in _chunks(url):
        digest.update(chunk)
        size += len(chunk)
    return size, digest.hexdigest()


def is_public(url: str) -> bool:
    """Whether the object can be read without credentials."""
    parts = urlsplit(url)
    try:
        with _as_store_errors():
            unauthenticated = _open(f"{parts.scheme}://{parts.netloc}", skip_signature=True)
            _obstore().get(unauthenticated, parts.path.strip("/")).bytes()
    except StoreError as error:
        if error.status_code:
            return False
        raise
    return True


def is_encrypted(url: str) -> bool:
    """Always: both clouds encrypt every object by default."""
    return True


def put(path: Path, url: str, sha256: str, md5: bytes) -> None:
    """Upload a file to an unused address; the store refuses to overwrite an object."""
    store, key = _store_and_key(url)
    try:
        with _as_store_errors():
            _obstore().put(store, key, path, mode="create", use_multipart=False)
    except StoreError as error:
        # An earlier attempt may have succeeded although its answer was lost.
        if error.status_code != 409 or size_and_sha256(url)[1] != sha256:
            raise


def remove(url: str) -> None:
    """Delete the object."""
    store, key = _store_and_key(url)
    with _as_store_errors():
        _obstore().delete(store, key)


def _chunks(url: str) -> Iterator[bytes]:
    store, key = _store_and_key(url)
    with _as_store_errors():
        for chunk in _obstore().get(store, key).stream(_CHUNK_BYTES):
            yield bytes(chunk)


@contextmanager
def _as_store_errors() -> Iterator[None]:
    """Turn errors of obstore into a StoreError with a one-line message and a status."""
    try:
        yield
    except Exception as error:
        kind = type(error).__name__
        if not (type(error).__module__.startswith("obstore") or kind in _STATUS):
            raise
        _store.cache_clear()
        raise StoreError(" ".join(str(error).split("Debug source")[0].split()), _STATUS.get(kind)) from error


def _store_and_key(url: str) -> tuple[Any, str]:
    parts = urlsplit(url)
    return _store(os.getpid(), f"{parts.scheme}://{parts.netloc}"), parts.path.strip("/")


@lru_cache(maxsize=8)
def _store(process: int, bucket: str) -> Any:
    """One client per process: forked processes cannot share a client, threads can."""
    with _as_store_errors():
        return _open(bucket)


def _open(bucket: str, **config: Any) -> Any:
    """A client without retries."""
    options = {
        "connect_timeout": f"{at_most(CONNECT_SECONDS):g}s",
        "read_timeout": f"{at_most(READ_SECONDS):g}s",
        "timeout": f"{_OBJECT_SECONDS}s",
        "allow_http": True,  # for endpoints whose URL begins with http://
    }
    return _obstore().store.from_url(bucket, client_options=options, retry_config={"max_retries": 0}, **config)


def _obstore() -> Any:
    try:
        import obstore.store
    except ImportError as error:
        raise ImportError("gs:// and az:// need obstore: run `pip install obstore`") from error
    return obstore
