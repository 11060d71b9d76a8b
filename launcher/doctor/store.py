"""Checks of an object store: written, read back, timed, and left as it was."""

import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from uuid import uuid4

from .finding import Finding

if TYPE_CHECKING:
    from ...storage.remote import Store

_SIZE = 8 * 2**20
_READS = 5
_DEADLINE_SECONDS = 60.0
_ADVICE = "Check address, endpoint (S3_ENDPOINT_URL) and credentials, which must allow to write, list and delete."


def object_store(url: str) -> Finding:
    """Store 8 MiB under a name that nobody has, read it back, and remove it."""
    from ...storage.remote import store_of

    check = f"store {url}"
    store = store_of(url)
    if store is None:
        return Finding(check, "failed", "unknown kind of address", "Expected s3://, gs:// or az://.")
    try:
        found = _use(store, f"{url.rstrip('/')}/cmbert-doctor-{uuid4().hex}")
    except Exception as error:  # the stores' clients share no base class
        return Finding(check, "failed", f"{type(error).__name__}: {str(error)[:200]}", _ADVICE)
    return Finding(check, "ok", found)


def _use(store: "Store", url: str) -> str:
    from ...storage.remote import Deadline

    content = os.urandom(_SIZE)
    sha256, md5 = hashlib.sha256(content).hexdigest(), hashlib.md5(content, usedforsecurity=False).digest()
    with TemporaryDirectory() as directory:
        there, back = Path(directory) / "there", Path(directory) / "back"
        there.write_bytes(content)
        written = _seconds(lambda: store.put(there, url, sha256, md5))
        try:
            read = _seconds(lambda: store.get(url, back, Deadline(_DEADLINE_SECONDS)))
            if back.read_bytes() != content:
                raise ValueError("what was read is not what was written")
            asked = sorted(_seconds(lambda: store.names(url)) for _ in range(_READS))[_READS // 2]
        finally:
            store.remove(url)
    megabytes = _SIZE / 1e6
    return f"write {megabytes / written:,.0f} MB/s, read {megabytes / read:,.0f} MB/s, answer in {1000 * asked:,.0f} ms"


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started
