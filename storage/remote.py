"""Files of an object store, fetched whole or not at all."""

import errno
import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import TypeVar

from botocore.exceptions import NoCredentialsError, PartialCredentialsError, ProfileNotFound

from ..configs.errors import TransientError, UserError
from . import gcs_azure as clouds
from . import s3

REFUSALS = 3
BREAKS = 10
_PROGRESS = 1 << 24  # bytes, for which there is patience anew
_HOPELESS = (ValueError, ImportError, NoCredentialsError, PartialCredentialsError, ProfileNotFound)
_DISK = (errno.EACCES, errno.EDQUOT, errno.ENOSPC, errno.EPERM, errno.EROFS)

T = TypeVar("T")
Check = Callable[[Path], str | None]
"""What is wrong with a file, or None."""


class DamagedError(ValueError):
    """What came is not what was written."""


class Deadline:
    """Until when to go on with an object: `seconds` from now, and again from each 16 MB of it that come."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._size = 0
        self.at = time.monotonic() + seconds

    def __call__(self, size: int) -> None:
        """So many bytes came; TimeoutError if that is too late."""
        if self.remaining() < 0:
            raise TimeoutError(f"only {size:,} bytes of it came in the time given")
        if size < self._size:  # another try, from the start
            self._size = 0
        if size - self._size >= _PROGRESS:
            self._size = size
            self.at = time.monotonic() + self._seconds

    def remaining(self) -> float:
        return self.at - time.monotonic()


def is_remote(address: str) -> bool:
    """Whether the address is a URL rather than a path."""
    return "://" in address


def read(address: str, parse: Callable[[bytes], T]) -> T:
    """What `parse` makes of a small file in a directory or an object store; it raises DamagedError if it cannot."""
    if is_remote(address):
        return persist(address, lambda deadline: parse(_fetched(address, deadline)))
    path = Path(address)
    if not path.is_file():
        raise UserError(f"{path}: no such file; expected a data set written by `cmbert data prepare`")
    try:
        return parse(path.read_bytes())
    except DamagedError as error:
        raise UserError(f"{path}: {error}; restore this file from its source, or prepare the data again") from error


def _fetched(url: str, deadline: Deadline) -> bytes:
    with TemporaryDirectory() as aside:
        path = Path(aside) / "file"
        _fetch(url, path, deadline)
        return path.read_bytes()


def download(url: str, path: Path, check: Check, retry: bool = True) -> None:
    """Bring one object to `path`, which appears only when it is complete and `check` finds nothing wrong with it.

    One process at a time may bring one path.

    Raises:
        UserError: it could not be had, or not be kept.
    """
    aside = path.with_name(f"{path.name}.part")

    def fetch(deadline: Deadline) -> None:
        try:
            _fetch(url, aside, deadline)
            if problem := check(aside):
                raise DamagedError(problem)
            aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)

    try:
        persist(url, fetch, retry)
    except OSError as error:
        raise UserError(f"{path.parent}: cannot keep {url} ({error}); free space or set data.cache") from error


def persist(url: str, attempt: Callable[[Deadline], T], retry: bool = True) -> T:
    """What `attempt` returns, as soon as it does not fail.

    Refusals (403, 404, no credentials) and damaged content are tried three times, everything else for five minutes
    (CMBERT_DOWNLOAD_PATIENCE, in seconds), with growing pauses. `attempt` is given the deadline, which moves on while
    an object comes; one that breaks off on its way is begun anew ten times.

    Raises:
        UserError: it was of no use; the message says what the store answered.
        OSError: this machine's disk refused.
    """
    start, deadline = time.monotonic(), Deadline(_patience())
    tries = refusals = breaks = 0
    while True:
        tries += 1
        until = deadline.at
        try:
            return attempt(deadline)
        except Exception as error:  # the stores' clients share no base class
            if isinstance(error, OSError) and error.errno in _DISK:
                raise
            refusals += _is_refusal(error)
            breaks += deadline.at > until
            problem = f"{type(error).__name__}: {error}; check the address, the endpoint, the credentials and the store"
            if isinstance(error, DamagedError):
                problem = f"{error}; the store holds something else than what was written: upload the data again"
        elapsed, pause = time.monotonic() - start, min(30.0, 0.25 * 2**tries) * random.uniform(0.5, 1.5)
        if not retry or refusals >= REFUSALS or breaks >= BREAKS or pause > deadline.remaining():
            kind = TransientError if retry and refusals < REFUSALS else UserError
            raise kind(f"{url}: gave up after {tries} tries in {elapsed:.0f} s: {problem}")
        time.sleep(pause)


def _patience() -> float:
    given = os.environ.get("CMBERT_DOWNLOAD_PATIENCE", "300")
    try:
        return float(given)
    except ValueError:
        raise UserError(f"CMBERT_DOWNLOAD_PATIENCE is {given!r}; expected a number of seconds") from None


def _fetch(url: str, path: Path, deadline: Deadline) -> None:
    if store := store_of(url):
        store.get(url, path, deadline)
    else:
        from .mosaic import CloudDownloader

        # A downloader of its own for each file: their clients cannot be shared by processes that fork.
        CloudDownloader.direct_download(url, str(path))


def store_of(url: str) -> ModuleType | None:
    """The module that reads and writes where the URL leads, if there is one."""
    scheme = url.partition("://")[0]
    return s3 if scheme == "s3" else clouds if scheme in clouds.SCHEMES else None


def _is_refusal(error: Exception) -> bool:
    """Whether asking again will not help."""
    response, code = getattr(error, "response", None), None
    if isinstance(response, dict):
        code = response.get("Error", {}).get("Code")  # an upload that stalled is S3's 400 RequestTimeout
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:
        status = getattr(error, "status_code", getattr(error, "code", None))
    if isinstance(status, int):
        return 400 <= status < 500 and status not in (408, 429) and code != "RequestTimeout"
    return isinstance(error, _HOPELESS)
