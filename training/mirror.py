"""Checkpoints copied to an object store while training goes on, and brought back to a disk that has none.

`checkpoints/.uploading` is the queue: a directory of hard links for each checkpoint to be stored, so that pruning takes
nothing away from an upload, and a run that was killed goes on with it. The manifest is stored last: without one
there is no checkpoint. Each lies under its step and the start that wrote it, so nothing is ever stored over another.
"""

import os
import shutil
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path

from ..configs.errors import UserError
from ..streaming_data.background import Background
from ..streaming_data.remote import download, persist, store_of
from ..streaming_data.upload import local_file, put
from .attempts import Attempt
from .checkpoint_files import MANIFEST, candidates, damage, read_manifest

QUEUE = ".uploading"


class Mirror:
    """Stores checkpoints at `url` in the background; rank 0 has one."""

    def __init__(self, checkpoints: Path, url: str, say: Callable[[str], None]) -> None:
        self._queue = checkpoints / QUEUE
        self._url = url.rstrip("/")
        self._say = say
        self._background = Background("checkpoint upload")
        self._uploads: list[Future[None]] = []
        for left in sorted(path for path in self._queue.glob("step*") if path.is_dir()):
            self._submit(left)

    def add(self, checkpoint: Path, attempt: Attempt) -> None:
        """Store a published checkpoint; returns at once."""
        links = self._queue / f"{checkpoint.name}.{attempt.number:05d}"
        aside = links.with_name(f".{links.name}")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        for file in checkpoint.iterdir():
            os.link(file, aside / file.name)
        aside.rename(links)
        self._submit(links)

    def close(self) -> None:
        """Wait until all are stored, or given up."""
        for upload in self._uploads:
            upload.result()
        self._background.close()

    def _submit(self, links: Path) -> None:
        self._uploads.append(self._background.submit(self._store, links))

    def _store(self, links: Path) -> None:
        address = f"{self._url}/{links.name}"
        try:
            files = [local_file(links, path) for path in links.iterdir()]
            for file in sorted(files, key=lambda file: file.name == MANIFEST):
                put(file, f"{address}/{file.name}")
        except UserError as error:
            self._say(f"warning: {links.name} is not in the object store, the next start tries again: {error}")
            return
        shutil.rmtree(links)
        self._say(f"stored {address}")


def bring_newest(url: str, checkpoints: Path) -> Path | None:
    """Bring the newest stored checkpoint into a run that has none on its disk; None if none is stored.

    Raises:
        UserError: the store cannot be read, or what it holds is not what was stored.
    """
    if candidates(checkpoints):
        return None
    url = url.rstrip("/")
    if (store := store_of(url)) is None:
        raise UserError(
            f"checkpoint.upload is {url}: expected s3://bucket/path, gs://bucket/path or az://container/path"
        )
    names = persist(url, lambda deadline: store.names(url))
    stored = sorted(name.removesuffix(f"/{MANIFEST}") for name in names if name.endswith(f"/{MANIFEST}"))
    if not stored:
        return None
    newest = stored[-1]
    final = checkpoints / newest.partition(".")[0]
    aside = checkpoints / f".{newest}.download"
    aside.mkdir(parents=True, exist_ok=True)
    download(f"{url}/{newest}/{MANIFEST}", aside / MANIFEST, lambda path: None)
    for name, facts in read_manifest(aside)["files"].items():
        download(f"{url}/{newest}/{name}", aside / name, partial(_wrong_size, facts["bytes"]))
    if problem := damage(aside):
        raise UserError(f"{url}/{newest}: {problem}: remove it there, so that the one before is taken")
    aside.rename(final)
    return final


def _wrong_size(expected: int, path: Path) -> str | None:
    size = path.stat().st_size
    return None if size == expected else f"{size:,} bytes of {expected:,}"
