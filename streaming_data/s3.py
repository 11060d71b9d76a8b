"""Objects of S3 and of stores that speak its protocol, with every wait bounded.

MosaicML's own S3 downloader keeps boto3's defaults: five attempts of a minute each, inside each of its own, so that a
server which accepts and never answers holds a run for half an hour. Here an attempt fails within seconds, and who
calls decides whether to try again.

Credentials and endpoint come from where every AWS tool finds them (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
AWS_PROFILE, AWS_ENDPOINT_URL, ...); S3_ENDPOINT_URL, MosaicML's name for the endpoint, goes before.
"""

import os
import time
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from boto3.session import Session
from botocore.config import Config

CONNECT_SECONDS = 10
READ_SECONDS = 20
_CHUNK = 1 << 16


def client() -> Any:
    """A client that tries once. It cannot be shared with processes that fork."""
    config = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"total_max_attempts": 1, "mode": "standard"},
    )
    return Session().client("s3", endpoint_url=os.environ.get("S3_ENDPOINT_URL") or None, config=config)


def bucket_and_key(url: str) -> tuple[str, str]:
    """The two parts of s3://bucket/key."""
    parts = urlsplit(url)
    return parts.netloc, parts.path.lstrip("/")


def get(url: str, path: Path, deadline: float) -> None:
    """Write the object to `path`, within 20 s of the deadline (of `time.monotonic`), however slowly it comes."""
    bucket, key = bucket_and_key(url)
    with closing(client().get_object(Bucket=bucket, Key=key)["Body"]) as body, path.open("wb") as file:
        for chunk in body.iter_chunks(_CHUNK):
            file.write(chunk)
            if time.monotonic() > deadline:
                raise TimeoutError(f"only {file.tell():,} bytes of it came in the time given")
