"""Checkpoints copied to an object store while training goes on, and brought back to a disk that lacks them.

`checkpoints/.uploading` is the queue: a directory of hard links for each checkpoint to be stored, so that pruning takes
nothing away from an upload, and a run that was killed goes on with it. The manifest is stored last: without one
there is no checkpoint. Each lies under its step and the start that wrote it, named by time and chance since a new disk
would count from 1 again, so nothing is ever stored over another.
"""

import os
import secrets
import shutil
from collections.abc import Callable
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

from ...configs.errors import UserError
from ...storage.background import Background
from ...storage.files import fsync
from ...storage.put import local_file, put
from ...storage.remote import download, store_of, with_retries
from .files import MANIFEST, candidates, damage, damage_of_file, read_manifest, step_of

QUEUE = ".uploading"
WAITING = 3


class Mirror:
    """Stores checkpoints at `url` in the background; rank 0 has one.

    What cannot be stored is told and never ends a run. It is tried again with each checkpoint and at the next start; at
    most the newest three wait, so that a store that is away for long does not fill the disk.
    """

    def __init__(self, checkpoints: Path, url: str, say: Callable[[str], None]) -> None:
        self._queue = checkpoints / QUEUE
        self._url = url.rstrip("/")
        self._say = say
        self._start = f"{datetime.now(timezone.utc):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
        for leftover in self._queue.glob(".step*"):
            shutil.rmtree(leftover, ignore_errors=True)
        self._background = Background("checkpoint upload")
        self._last = self._background.submit(self._store_waiting)

    def add(self, checkpoint: Path) -> None:
        """Store a published checkpoint; returns at once."""
        links = self._queue / f"{checkpoint.name}.{self._start}"
        try:
            if not links.exists():
                _link_all(checkpoint, links)
        except OSError as error:
            self._say(f"warning: {checkpoint.name} will not be in the object store: {error}")
        self._last = self._background.submit(self._store_waiting)

    def close(self) -> None:
        """Wait until all are stored, or given up."""
        self._last.result()
        self._background.close()

    def _store_waiting(self) -> None:
        """The newest first: that is the one a new disk asks for."""
        try:
            while waiting := sorted(path for path in self._queue.glob("step*") if path.is_dir()):
                for older in waiting[:-WAITING]:
                    shutil.rmtree(older)
                    self._say(f"warning: {older.name} is not in the object store: newer ones wait for it already")
                self._store(waiting[-1])
        except (OSError, UserError) as error:
            self._say(f"warning: not all is in the object store, the next checkpoint or start tries again: {error}")

    def _store(self, links: Path) -> None:
        address = f"{self._url}/{links.name}"
        files = [local_file(links, path) for path in links.iterdir()]
        for file in sorted(files, key=lambda file: file.name == MANIFEST):
            put(file, f"{address}/{file.name}")
        shutil.rmtree(links)
        self._say(f"stored {address}")


def _link_all(checkpoint: Path, links: Path) -> None:
    """A second name for each file, whole or absent; a copy where the file system has no hard links."""
    aside = links.with_name(f".{links.name}")
    aside.mkdir(parents=True)
    try:
        for file in checkpoint.iterdir():
            _link(file, aside / file.name)
        aside.rename(links)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def _link(file: Path, link: Path) -> None:
    try:
        os.link(file, link)
    except OSError:
        shutil.copyfile(file, link)
        fsync(link)


def bring_newest(url: str, checkpoints: Path) -> Path | None:
    """Bring the newest stored checkpoint to a disk that has none, or only older ones; None if nothing is brought.

    Raises:
        UserError: the disk has none and the store cannot be read, or what it holds is not what was stored.
    """
    local = candidates(checkpoints)
    url = url.rstrip("/")
    try:
        newest = _newest(url, retry=not local)
    except UserError as error:
        if not local:
            raise
        print(f"warning: {local[0].name} of this disk is taken, whether there is a newer one is not known: {error}")
        return None
    if newest is None:
        return None
    final = checkpoints / newest.partition(".")[0]
    if local and step_of(local[0]) >= step_of(final):
        return None
    aside = checkpoints / f".{newest}.download"
    aside.mkdir(parents=True, exist_ok=True)
    download(f"{url}/{newest}/{MANIFEST}", aside / MANIFEST, lambda path: None)
    for name, facts in read_manifest(aside)["files"].items():
        if damage_of_file(aside / name, facts):  # else it came in a start before
            download(f"{url}/{newest}/{name}", aside / name, partial(_wrong_size, facts["bytes"]))
    if problem := damage(aside):
        raise UserError(f"{url}/{newest}: {problem}: remove it there, so that the one before is taken")
    aside.rename(final)
    print(f"brought {url}/{newest}", flush=True)
    return final


def _newest(url: str, retry: bool) -> str | None:
    """Of the whole checkpoints in the store, the name of the one of the last step, and of these of the last start."""
    if (store := store_of(url)) is None:
        raise UserError(
            f"checkpoint.upload is {url}: expected s3://bucket/path, gs://bucket/path or az://container/path"
        )
    names = with_retries(url, lambda deadline: store.names(url), retry)
    return max((name.removesuffix(f"/{MANIFEST}") for name in names if name.endswith(f"/{MANIFEST}")), default=None)


def _wrong_size(expected: int, path: Path) -> str | None:
    size = path.stat().st_size
    return None if size == expected else f"{size:,} bytes of {expected:,}"
