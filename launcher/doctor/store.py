"""Check of an object store: write, read back, time, and remove an object."""

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
_ADVICE = "Check the address, the endpoint (S3_ENDPOINT_URL) and that the credentials may write, list and delete."


def object_store(url: str) -> Finding:
    """Store 8 MiB under a unique name, read it back, and remove it."""
    from ...storage.remote import store_of

    check = f"store {url}"
    store = store_of(url)
    if store is None:
        return Finding(check, "failed", "unknown scheme", "Expected s3://, gs:// or az://.")
    try:
        result = _measure(store, f"{url.rstrip('/')}/cmbert-doctor-{uuid4().hex}")
    except Exception as error:  # the clients of object stores share no base class
        return Finding(check, "failed", f"{type(error).__name__}: {str(error)[:200]}", _ADVICE)
    return Finding(check, "ok", result)


def _measure(store: "Store", url: str) -> str:
    from ...storage.remote import Deadline

    content = os.urandom(_SIZE)
    sha256, md5 = hashlib.sha256(content).hexdigest(), hashlib.md5(content, usedforsecurity=False).digest()
    with TemporaryDirectory() as directory:
        source, copy = Path(directory) / "source", Path(directory) / "copy"
        source.write_bytes(content)
        write_seconds = _seconds(lambda: store.put(source, url, sha256, md5))
        try:
            read_seconds = _seconds(lambda: store.get(url, copy, Deadline(_DEADLINE_SECONDS)))
            if copy.read_bytes() != content:
                raise ValueError("the content read back differs from the content written")
            list_seconds = sorted(_seconds(lambda: store.names(url)) for _ in range(_READS))[_READS // 2]
        finally:
            store.remove(url)
    megabytes = _SIZE / 1e6
    return (
        f"write {megabytes / write_seconds:,.0f} MB/s, read {megabytes / read_seconds:,.0f} MB/s, "
        f"list in {1000 * list_seconds:,.0f} ms"
    )


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started
