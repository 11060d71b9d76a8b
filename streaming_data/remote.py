"""Files of an object store, fetched whole or not at all."""

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

from ..configs.errors import UserError
from .mosaic import CloudDownloader

GIVE_UP_SECONDS = float(os.environ.get("CMBERT_DOWNLOAD_PATIENCE", "300"))
PERMANENT_TRIES = 3
_PERMANENT = ("403", "404", "AccessDenied", "InvalidAccessKeyId", "NoSuchBucket", "NoSuchKey", "SignatureDoesNotMatch")


def is_remote(address: str) -> bool:
    """Whether the address is a URL rather than a path."""
    return "://" in address


def download(url: str, path: Path, check: Callable[[Path], str | None]) -> None:
    """Bring one object to `path`, which appears only when it is complete and `check` finds nothing wrong with it.

    Refusals (403, 404) and damaged content are tried three times, everything else for five minutes
    (CMBERT_DOWNLOAD_PATIENCE, in seconds), with growing pauses.

    Raises:
        UserError: it could not be had; the message says what the store answered.
    """
    aside = path.with_name(f"{path.name}.{os.getpid()}.part")
    start, tries, refusals = time.monotonic(), 0, 0
    while True:
        tries += 1
        try:
            aside.unlink(missing_ok=True)
            # A client of its own for each file: boto3's cannot be shared by processes that fork.
            CloudDownloader.direct_download(url, str(aside))
            problem = check(aside)
            if problem is None:
                aside.replace(path)
                return
            refusals += 1
        except Exception as error:  # the stores' clients share no base class
            problem = f"{type(error).__name__}: {error}"
            refusals += _is_permanent(error)
        finally:
            aside.unlink(missing_ok=True)
        elapsed = time.monotonic() - start
        if refusals >= PERMANENT_TRIES or elapsed > GIVE_UP_SECONDS:
            raise UserError(f"{url}: gave up after {tries} tries in {elapsed:.0f} s: {problem}")
        time.sleep(min(30.0, 0.25 * 2**tries) * random.uniform(0.5, 1.5))


def _is_permanent(error: Exception) -> bool:
    code = getattr(error, "response", {}).get("Error", {}).get("Code") if hasattr(error, "response") else None
    return code in _PERMANENT or isinstance(error, ValueError | ImportError)
