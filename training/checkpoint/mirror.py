"""Copies of checkpoints in an object store: uploaded while training continues, downloaded to a disk that lacks them.

`checkpoints/.uploading` is the queue. Each checkpoint to be uploaded is a directory of hard links there, so that
pruning does not remove files that an upload still reads, and a run that was killed continues the upload. The manifest
is uploaded last: without a manifest there is no checkpoint.

Each checkpoint is stored under its step and a name of the attempt that wrote it. That name has a time and a random
part, because a new disk counts attempts from 1 again. So nothing in the store is ever overwritten.
"""

import logging
import os
import secrets
import shutil
from collections.abc import Callable
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

from ...configs.errors import UserError
from ...configs.progress import Progress
from ...storage.background import Background
from ...storage.files import stage_directory
from ...storage.put import LocalFile, local_file, put
from ...storage.remote import download, store_of, with_retries
from ...storage.trust import require_owner
from .files import find_corruption, find_file_corruption, list_checkpoints, step_of
from .manifest import MANIFEST, read_manifest

logger = logging.getLogger(__name__)

QUEUE = ".uploading"
MAX_QUEUED = 3


class Mirror:
    """Uploads checkpoints to `url` in the background. Only rank 0 has one.

    A failed upload is a warning and never ends a run. It is repeated with each checkpoint and at the next start. At
    most the newest three checkpoints are queued, so that an outage of the store does not fill the disk.
    """

    def __init__(
        self,
        checkpoints: Path,
        url: str,
        upload: Callable[[LocalFile, str], None] = put,
        background: Background | None = None,
    ) -> None:
        self._queue = checkpoints / QUEUE
        self._url = url.rstrip("/")
        self._upload = upload
        self._attempt = f"{datetime.now(timezone.utc):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
        for leftover in self._queue.glob(".step*"):
            shutil.rmtree(leftover, ignore_errors=True)
        self._background = background or Background("checkpoint upload")
        self._last = self._background.submit(self._upload_queued)

    def add(self, checkpoint: Path) -> None:
        """Queue a published checkpoint for upload; returns immediately."""
        links = self._queue / f"{checkpoint.name}.{self._attempt}"
        try:
            if not links.exists():
                _link_all(checkpoint, links)
        except (OSError, UserError) as error:
            logger.warning(f"{checkpoint.name} will not be uploaded: {error}")
        self._last = self._background.submit(self._upload_queued)

    def close(self) -> None:
        """Wait until all queued checkpoints are uploaded or have failed."""
        self._last.result()
        self._background.close()

    def _upload_queued(self) -> None:
        """Upload the newest first: it is the one that a new disk continues from."""
        try:
            while queued := sorted(path for path in self._queue.glob("step*") if path.is_dir()):
                for older in queued[:-MAX_QUEUED]:
                    shutil.rmtree(older)
                    logger.warning(f"{older.name} is not uploaded: {MAX_QUEUED} newer ones are queued already")
                self._upload_one(queued[-1])
        except (OSError, UserError) as error:
            logger.warning(f"not all checkpoints are uploaded, the next checkpoint or start retries: {error}")

    def _upload_one(self, links: Path) -> None:
        address = f"{self._url}/{links.name}"
        files = [local_file(links, path) for path in links.iterdir()]
        for file in sorted(files, key=lambda file: file.name == MANIFEST):
            self._upload(file, f"{address}/{file.name}")
        shutil.rmtree(links)
        logger.info(f"uploaded {address}")


def _link_all(checkpoint: Path, links: Path) -> None:
    """Create the directory `links` with a second name for each file."""
    with stage_directory(links) as staging:
        for file in checkpoint.iterdir():
            _link(file, staging / file.name)


def _link(file: Path, link: Path) -> None:
    """Create a hard link, or a copy where the file system has none."""
    try:
        os.link(file, link)
    except OSError:
        shutil.copyfile(file, link)


def download_newest(
    url: str, checkpoints: Path, fetch: Callable[[str, Path, Callable[[Path], str | None]], None] = download
) -> Path | None:
    """Download the newest uploaded checkpoint if it is newer than all on this disk; None if nothing is downloaded.

    Args:
        fetch: downloads one object to a path and checks it.
    Raises:
        UserError: the disk has no checkpoint and the store cannot be read, or the store's content is corrupt.
    """
    local = list_checkpoints(checkpoints)
    url = url.rstrip("/")
    try:
        newest = _newest(url, retry=not local)
    except UserError as error:
        if not local:
            raise
        logger.warning(f"continuing from {local[0].name} on this disk; the store may hold a newer one: {error}")
        return None
    if newest is None:
        return None
    final = checkpoints / newest.partition(".")[0]
    if local and step_of(local[0]) >= step_of(final):
        return None
    # The name is fixed, so that a start after an interruption continues this download.
    staging = checkpoints / f".{newest}.download"
    staging.mkdir(parents=True, exist_ok=True)
    require_owner(staging)
    fetch(f"{url}/{newest}/{MANIFEST}", staging / MANIFEST, lambda path: None)
    files = read_manifest(staging).files
    with Progress("downloading the checkpoint", sum(entry.bytes for entry in files.values()), "B") as progress:
        for name, entry in files.items():
            if find_file_corruption(staging / name, entry):  # else an earlier start has downloaded it
                fetch(f"{url}/{newest}/{name}", staging / name, partial(_wrong_size, entry.bytes))
            progress.advance(entry.bytes)
    if problem := find_corruption(staging):
        raise UserError(f"{url}/{newest}: {problem}: remove it there to continue from the one before")
    staging.rename(final)
    logger.info(f"downloaded {url}/{newest}")
    return final


def _newest(url: str, retry: bool) -> str | None:
    """The name of the last step's complete checkpoint in the store; of several attempts, that of the last."""
    if (store := store_of(url)) is None:
        raise UserError(
            f"checkpoint.upload is {url}: expected s3://bucket/path, gs://bucket/path or az://container/path"
        )
    names = with_retries(url, lambda deadline: store.names(url), retry)
    return max((name.removesuffix(f"/{MANIFEST}") for name in names if name.endswith(f"/{MANIFEST}")), default=None)


def _wrong_size(expected: int, path: Path) -> str | None:
    size = path.stat().st_size
    return None if size == expected else f"{size:,} bytes of {expected:,}"
