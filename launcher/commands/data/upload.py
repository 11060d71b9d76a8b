"""`cmbert data upload`."""

from pathlib import Path
from typing import Annotated

import typer

from ....configs.preconditions import check_all, check_packages
from ....configs.reporting import suggest
from ...interface.next_steps import training_on


def upload(
    data: Annotated[Path, typer.Argument(help="A prepared data set.")],
    url: Annotated[str, typer.Argument(help="A new address: s3://bucket/path, gs://bucket/path, az://container/path.")],
    unprotected: Annotated[
        bool, typer.Option("--unprotected", help="Allow patient text in a public or unencrypted bucket.")
    ] = False,
) -> None:
    """Upload a data set to a bucket and verify every object; continue an interrupted upload.

    Example: cmbert data upload runs/demo/data s3://bucket/demo-1
    """
    from ....streaming_data.prepare.upload import store_address
    from ....streaming_data.prepare.upload import upload as store
    from ....streaming_data.shards.manifest import read_manifest

    check_all([lambda: check_client(store_address(url)), lambda: read_manifest(str(data))])
    store(data, url, unprotected)
    suggest_use(data, url.rstrip("/"))


def check_client(url: str) -> None:
    """Check that the client of an object store is installed; that of S3 always is."""
    if url.partition("://")[0] != "s3":
        check_packages(url, "clouds")


def suggest_use(data: Path, address: str) -> None:
    """Suggest what to do with a data set that is also at `address`."""
    from ....streaming_data.shards.manifest import read_manifest

    suggest(["data", "inspect", address], training_on(address, read_manifest(str(data)).tokenizer.vocab_size))
