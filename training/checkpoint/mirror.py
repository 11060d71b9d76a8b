"""Copies of checkpoints in an object store, uploaded while training continues. `stored.py` reads them.

`checkpoints/.uploading` is the queue. Each checkpoint to be uploaded is a directory of hard links there, so that
pruning does not remove files that an upload still reads, and a run that was killed continues the upload. The manifest
is uploaded last, when the store has been asked for the size of every file: without a manifest there is no checkpoint.

Each checkpoint is stored under its step and a name of the attempt that wrote it. That name has a time and a random
part, because a new disk counts attempts from 1 again. So nothing in the store is ever overwritten.
"""

import logging
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from ...configs.errors import UserError
from ...storage.background import Background
from ...storage.files import stage_directory
from ...storage.put import LocalFile, local_file, put, require_stored
from .files import find_corruption
from .manifest import MANIFEST, read_manifest
from .names import new_attempt_name, parse_stored_name

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
        confirm: Callable[[str, Mapping[str, int]], None] = require_stored,
    ) -> None:
        self._queue = checkpoints / QUEUE
        self._url = url.rstrip("/")
        self._upload = upload
        self._confirm = confirm
        self._attempt = new_attempt_name()
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
            while queued := sorted(path for path in self._queue.glob("step*") if parse_stored_name(path.name)):
                for older in queued[:-MAX_QUEUED]:
                    shutil.rmtree(older)
                    logger.warning(f"{older.name} is not uploaded: {MAX_QUEUED} newer ones are queued already")
                self._upload_one(queued[-1])
        except (OSError, UserError) as error:
            logger.warning(f"not all checkpoints are uploaded, the next checkpoint or start retries: {error}")

    def _upload_one(self, links: Path) -> None:
        if problem := find_corruption(links):  # it was whole when it was queued: an older one is better than none
            shutil.rmtree(links)
            logger.warning(f"{links.name} is not uploaded: {problem}")
            return
        address = f"{self._url}/{links.name}"
        files = {name: entry.bytes for name, entry in read_manifest(links).files.items()}
        for name in files:
            self._upload(local_file(links, links / name), f"{address}/{name}")
        self._confirm(address, files)
        self._upload(local_file(links, links / MANIFEST), f"{address}/{MANIFEST}")
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
