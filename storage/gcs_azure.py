"""Objects of Google Cloud Storage (gs://) and Azure (az://, abfs://), with every wait bounded.

Both are spoken to by obstore, an optional package, whose clients find credentials where each cloud's own tools do
(GOOGLE_APPLICATION_CREDENTIALS, the machine's identity, ...; AZURE_STORAGE_ACCOUNT_NAME and a key, a SAS token, the
machine's identity, ...) and other endpoints in GOOGLE_BASE_URL and AZURE_STORAGE_ENDPOINT. As with S3, an attempt
fails within seconds, and who calls decides whether to try again.
"""

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

SCHEMES = ("gs", "az", "azure", "abfs", "abfss")
CONNECT_SECONDS = 10
READ_SECONDS = 20
_CHUNK = 1 << 16
_WHOLE_SECONDS = 24 * 3600  # of one object; how long it may take is decided by who calls
_STATUS = {
    "UnauthenticatedError": 401,
    "PermissionDeniedError": 403,
    "FileNotFoundError": 404,
    "AlreadyExistsError": 409,
}


class StoreError(Exception):
    """What the store answered, with the HTTP status if the answer was a refusal."""

    def __init__(self, message: str, status_code: int | None) -> None:
        super().__init__(message)
        self.status_code = status_code


def get(url: str, path: Path, came: Callable[[int], None]) -> None:
    """Write the object to `path`; `came` is told its size after each 64 KB, and raises when that takes too long."""
    with path.open("wb") as file:
        for chunk in _chunks(url):
            file.write(chunk)
            came(file.tell())


def names(url: str) -> list[str]:
    """The names of the objects under the URL, relative to it."""
    store, prefix = _store_and_key(url)
    with _told():
        entries = [entry["path"] for page in _obstore().list(store, f"{prefix}/") for entry in page]
    return [entry.removeprefix(f"{prefix}/") for entry in entries]


def size_and_sha256(url: str) -> tuple[int, str]:
    """Of an object, as it is read back: neither cloud compares what it stores with a hash of ours."""
    digest, size = hashlib.sha256(), 0
    for chunk in _chunks(url):
        digest.update(chunk)
        size += len(chunk)
    return size, digest.hexdigest()


def is_public(url: str) -> bool:
    """Whether the object can be read without credentials."""
    parts = urlsplit(url)
    try:
        with _told():
            anybody = _open(f"{parts.scheme}://{parts.netloc}", skip_signature=True)
            _obstore().get(anybody, parts.path.strip("/")).bytes()
    except StoreError as error:
        if error.status_code:
            return False
        raise
    return True


def is_encrypted(url: str) -> bool:
    """Both clouds encrypt whatever they hold, without being asked."""
    return True


def put(path: Path, url: str, sha256: str, md5: bytes) -> None:
    """Store a file where nothing is yet; the store refuses to put it in another's place."""
    store, key = _store_and_key(url)
    try:
        with _told():
            _obstore().put(store, key, path, mode="create", use_multipart=False)
    except StoreError as error:
        # The answer to an attempt before may have been lost on the way.
        if error.status_code != 409 or size_and_sha256(url)[1] != sha256:
            raise


def remove(url: str) -> None:
    """The object is gone."""
    store, key = _store_and_key(url)
    with _told():
        _obstore().delete(store, key)


def _chunks(url: str) -> Iterator[bytes]:
    store, key = _store_and_key(url)
    with _told():
        for chunk in _obstore().get(store, key).stream(_CHUNK):
            yield bytes(chunk)


@contextmanager
def _told() -> Iterator[None]:
    """Errors of one line and with a status, as those of other clients have it."""
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
    """One for each process, since those that fork cannot share one; threads can."""
    with _told():
        return _open(bucket)


def _open(bucket: str, **config: Any) -> Any:
    """A client that tries once."""
    options = {
        "connect_timeout": f"{CONNECT_SECONDS}s",
        "read_timeout": f"{READ_SECONDS}s",
        "timeout": f"{_WHOLE_SECONDS}s",
        "allow_http": True,  # where the endpoint says so
    }
    return _obstore().store.from_url(bucket, client_options=options, retry_config={"max_retries": 0}, **config)


def _obstore() -> Any:
    try:
        import obstore.store
    except ImportError as error:
        raise ImportError("gs:// and az:// need obstore: pip install 'clinical-modernbert[clouds]'") from error
    return obstore
