"""Files of an object store: read or downloaded complete or not at all, with retries."""

import errno
import random
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol, TypeVar

from ..configs.errors import TransientError, UserError
from . import gcs_azure, s3
from .patience import patience_seconds

MAX_REFUSALS = 3
MAX_INTERRUPTIONS = 10
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
_PROGRESS_BYTES = 1 << 24  # each such amount of an object that arrives restarts the deadline
_DISK_ERRORS = (errno.EACCES, errno.EDQUOT, errno.ENOSPC, errno.EPERM, errno.EROFS)

T = TypeVar("T")
Check = Callable[[Path], str | None]
"""Returns what is wrong with a file, or None."""


class CorruptDataError(ValueError):
    """The content of a file is not what was written."""


class Store(Protocol):
    """The functions of a module for one kind of object store. Each makes one attempt and raises its client's errors."""

    def get(self, url: str, path: Path, on_progress: Callable[[int], None]) -> None: ...
    def put(self, path: Path, url: str, sha256: str, md5: bytes) -> None: ...
    def names(self, url: str) -> list[str]: ...
    def size_and_sha256(self, url: str) -> tuple[int, str | None]: ...
    def is_public(self, url: str) -> bool: ...
    def is_encrypted(self, url: str) -> bool: ...
    def remove(self, url: str) -> None: ...


STORES: dict[str, Store] = {"s3": s3, **dict.fromkeys(gcs_azure.SCHEMES, gcs_azure)}
"""The store of each URL scheme. MosaicML's downloaders read from others, which cannot be written to."""


class Clock(Protocol):
    """The part of the module `time` that retries use."""

    def monotonic(self) -> float: ...
    def sleep(self, seconds: float, /) -> None: ...


class Deadline:
    """The time at which to give up an object: `seconds` from now, and again `seconds` after each 16 MB that arrive."""

    def __init__(self, seconds: float, clock: Clock = time) -> None:
        self._seconds = seconds
        self._clock = clock
        self._size = 0
        self.expires = clock.monotonic() + seconds

    def __call__(self, size: int) -> None:
        """Report how many bytes of the object have arrived so far.

        Raises:
            TimeoutError: the deadline has passed.
        """
        if self.remaining() < 0:
            raise TimeoutError(f"only {size:,} bytes arrived before the deadline")
        if size < self._size:  # another attempt, from the start
            self._size = 0
        if size - self._size >= _PROGRESS_BYTES:
            self._size = size
            self.expires = self._clock.monotonic() + self._seconds

    def remaining(self) -> float:
        return self.expires - self._clock.monotonic()


def is_remote(address: str) -> bool:
    """Whether the address is a URL rather than a path."""
    return "://" in address


def store_of(url: str) -> Store | None:
    """The store that a URL leads to; None if its scheme is unknown."""
    return STORES.get(url.partition("://")[0])


def read(address: str, parse: Callable[[bytes], T], clock: Clock = time) -> T:
    """Read and parse a small file of a directory or an object store.

    Args:
        parse: raises CorruptDataError for content that it cannot parse.
    Raises:
        UserError: the file does not exist, cannot be read or is corrupt.
    """
    if is_remote(address):
        return with_retries(address, lambda deadline: parse(_fetch_bytes(address, deadline)), clock=clock)
    path = Path(address)
    if not path.is_file():
        raise UserError(f"{path}: no such file; expected a data set written by `cmbert data prepare`")
    try:
        return parse(path.read_bytes())
    except CorruptDataError as error:
        raise UserError(f"{path}: {error}; restore this file from its source, or prepare the data again") from error


def _fetch_bytes(url: str, deadline: Deadline) -> bytes:
    with TemporaryDirectory() as directory:
        path = Path(directory) / "file"
        _fetch(url, path, deadline)
        return path.read_bytes()


def download(url: str, path: Path, check: Check, retry: bool = True, clock: Clock = time) -> None:
    """Download one object to `path`, which appears only when it is complete and passes `check`.

    Only one process at a time may download to one path, so the temporary file has a fixed name, unlike those of
    `stage_file`: the next process overwrites what a killed one left, and the cache finds it by its suffix. It is not
    synced to the disk before the rename, since readers verify every shard anyway.

    Args:
        retry: False makes a single attempt.
    Raises:
        UserError: the object could not be downloaded, or not be stored at `path`.
    """
    partial = path.with_name(f"{path.name}.part")

    def fetch(deadline: Deadline) -> None:
        try:
            _fetch(url, partial, deadline)
            if problem := check(partial):
                raise CorruptDataError(problem)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    try:
        with_retries(url, fetch, retry, clock)
    except OSError as error:
        raise UserError(f"{path.parent}: cannot keep {url} ({error}); free space or set data.cache") from error


def with_retries(url: str, attempt: Callable[[Deadline], T], retry: bool = True, clock: Clock = time) -> T:
    """Call `attempt` until it succeeds, and return what it returns.

    Refusals (403, 404, no credentials) and corrupt content are retried up to three attempts, everything else for five
    minutes (CMBERT_DOWNLOAD_PATIENCE, in seconds), with growing pauses. `attempt` gets the deadline, which is extended
    while an object arrives; an object that was interrupted after that is restarted up to ten times.

    Raises:
        UserError: every attempt failed; the message contains the last answer of the store. A TransientError if
            another attempt later may succeed.
        OSError: the disk of this machine failed.
    """
    start, deadline = clock.monotonic(), Deadline(patience_seconds(), clock)
    attempts = refusals = interruptions = 0
    while True:
        attempts += 1
        expires = deadline.expires
        try:
            return attempt(deadline)
        except Exception as error:  # the stores' clients share no base class
            if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
                raise
            refusals += _is_refusal(error)
            interruptions += deadline.expires > expires
            problem = f"{type(error).__name__}: {error}; check the address, the endpoint, the credentials and the store"
            if isinstance(error, CorruptDataError) or _fails_its_checksum(error):
                problem = f"{error}; the store does not hold what was written: upload the data again"
        elapsed = clock.monotonic() - start
        pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** (attempts - 1)) * random.uniform(0.5, 1.5)
        exhausted = refusals >= MAX_REFUSALS or interruptions >= MAX_INTERRUPTIONS or pause > deadline.remaining()
        if not retry or exhausted:
            # With little patience there are fewer attempts than MAX_REFUSALS, which may all have been refused.
            kind = TransientError if retry and refusals < min(attempts, MAX_REFUSALS) else UserError
            raise kind(f"{url}: gave up after {attempts} tries in {elapsed:.0f} s: {problem}")
        clock.sleep(pause)


def _fetch(url: str, path: Path, deadline: Deadline) -> None:
    if store := store_of(url):
        store.get(url, path, deadline)
    else:
        from .mosaic import CloudDownloader

        # A new downloader for each file: their clients cannot be shared by forked processes.
        CloudDownloader.direct_download(url, str(path))


def _fails_its_checksum(error: Exception) -> bool:
    """Whether the content that arrived is not that of the checksum that the store sent with it."""
    from botocore.exceptions import FlexibleChecksumError

    return isinstance(error, FlexibleChecksumError)


def _is_refusal(error: Exception) -> bool:
    """Whether a retry is unlikely to help."""
    from botocore.exceptions import NoCredentialsError, PartialCredentialsError, ProfileNotFound

    response, code = getattr(error, "response", None), None
    if isinstance(response, dict):
        code = response.get("Error", {}).get("Code")  # S3 answers an upload that stalled with 400 RequestTimeout
        status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    else:
        status = getattr(error, "status_code", getattr(error, "code", None))
    if isinstance(status, int):
        return 400 <= status < 500 and status not in (408, 429) and code != "RequestTimeout"
    permanent = ValueError, ImportError, NoCredentialsError, PartialCredentialsError, ProfileNotFound
    return isinstance(error, permanent) or _fails_its_checksum(error)
