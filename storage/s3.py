"""Objects of S3 and of stores with its protocol; every wait is bounded.

MosaicML's own S3 downloader keeps boto3's defaults: five attempts of a minute each, inside each of its own. A server
that accepts connections and never answers would block a run for half an hour. Here an attempt fails within seconds, and
the caller decides whether to retry (`remote.with_retries`).

Credentials and endpoint are found as by every AWS tool (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_PROFILE,
AWS_ENDPOINT_URL, ...); S3_ENDPOINT_URL, MosaicML's name for the endpoint, has precedence.

boto3 is imported at the first request, since most ranks make none.
"""

import os
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .patience import at_most

if TYPE_CHECKING:
    from botocore.config import Config

CONNECT_SECONDS = 10
READ_SECONDS = 20
_CHUNK_BYTES = 1 << 16


@contextmanager
def connected() -> Iterator[Any]:
    """A client without retries. It is reused by the process's next call, unless this one fails."""
    try:
        yield _client(os.getpid(), _endpoint(), at_most(READ_SECONDS))
    except Exception:
        _client.cache_clear()
        raise


@lru_cache(maxsize=1)
def _client(process: int, endpoint: str | None, read_seconds: float) -> Any:
    """One client per process: forked processes cannot share a client, threads can."""
    from boto3.session import Session

    return Session().client("s3", endpoint_url=endpoint, config=_config(read_seconds))


def _config(read_seconds: float) -> "Config":
    from botocore.config import Config

    return Config(connect_timeout=CONNECT_SECONDS, read_timeout=read_seconds, retries={"total_max_attempts": 1})


def _endpoint() -> str | None:
    return os.environ.get("S3_ENDPOINT_URL") or None


def bucket_and_key(url: str) -> tuple[str, str]:
    """Split s3://bucket/key."""
    parts = urlsplit(url)
    return parts.netloc, parts.path.lstrip("/")


def get(url: str, path: Path, on_progress: Callable[[int], None]) -> None:
    """Download the object to `path`.

    Args:
        on_progress: called with the number of bytes received after each 64 KB; it raises to abort.
    """
    bucket, key = bucket_and_key(url)
    with (
        connected() as client,
        closing(client.get_object(Bucket=bucket, Key=key)["Body"]) as body,
        path.open("wb") as file,
    ):
        for chunk in body.iter_chunks(_CHUNK_BYTES):
            file.write(chunk)
            on_progress(file.tell())


def names(url: str) -> list[str]:
    """List the objects below the URL, by their names relative to it."""
    bucket, prefix = bucket_and_key(f"{url}/")
    with connected() as client:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return [entry["Key"].removeprefix(prefix) for page in pages for entry in page.get("Contents", ())]


def size_and_sha256(url: str) -> tuple[int, str | None]:
    """Size and hash of an object; the hash is the one that `put` stored in its metadata."""
    bucket, key = bucket_and_key(url)
    with connected() as client:
        head = client.head_object(Bucket=bucket, Key=key)
    return head["ContentLength"], head["Metadata"].get("sha256")


def is_public(url: str) -> bool:
    """Whether the object can be read without credentials."""
    from boto3.session import Session
    from botocore import UNSIGNED
    from botocore.config import Config
    from botocore.exceptions import ClientError

    bucket, key = bucket_and_key(url)
    config = Config(signature_version=UNSIGNED).merge(_config(READ_SECONDS))
    unauthenticated = Session().client("s3", endpoint_url=_endpoint(), config=config)
    try:
        unauthenticated.get_object(Bucket=bucket, Key=key)["Body"].close()
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] in (401, 403, 404):
            return False
        raise
    return True


def is_encrypted(url: str) -> bool:
    """Whether the store reports server-side encryption of the object."""
    bucket, key = bucket_and_key(url)
    with connected() as client:
        return "ServerSideEncryption" in client.head_object(Bucket=bucket, Key=key)


def remove(url: str) -> None:
    """Delete the object; no error if there is none."""
    bucket, key = bucket_and_key(url)
    with connected() as client:
        client.delete_object(Bucket=bucket, Key=key)


def put(path: Path, url: str, sha256: str, md5: bytes) -> None:
    """Upload a file of at most 5 GB. The store compares the content with the MD5 and refuses it if they differ."""
    bucket, key = bucket_and_key(url)
    with connected() as client, path.open("rb") as file:
        client.put_object(
            Bucket=bucket, Key=key, Body=file, ContentMD5=b64encode(md5).decode(), Metadata={"sha256": sha256}
        )
