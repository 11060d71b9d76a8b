"""Checkpoints in an object store, as a start reads them: listed, downloaded and verified.

Others write to a store too. So a listing counts only where a name has exactly the form that we write, a file of a
checkpoint only if it has the size and hash in its manifest, and a checkpoint that is damaged is passed over.
"""

import logging
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from ...configs.errors import TransientError, UserError
from ...configs.progress import Progress
from ...storage.put import stored_size
from ...storage.remote import download, store_of, with_retries
from ...storage.trust import require_owner
from .files import directory_name, find_corruption, find_file_corruption, list_checkpoints, step_of
from .manifest import MANIFEST, CheckpointManifest, FileEntry, read_manifest
from .names import StoredName, is_tensor_file, parse_stored_name

logger = logging.getLogger(__name__)

MAX_MANIFEST_BYTES = 1 << 26
"""Far more than the manifest of any run: 1.2 MB for the base model on 128 nodes."""

Fetch = Callable[[str, Path, Callable[[Path], str | None]], None]


class DamagedError(UserError):
    """The store does not hold this checkpoint as it was written."""


def download_newest(url: str, checkpoints: Path, fetch: Fetch = download) -> Path | None:
    """Download the newest intact checkpoint if it is newer than all on this disk; None if nothing is downloaded.

    Args:
        fetch: downloads one object to a path and checks it.
    Raises:
        UserError: the disk has no checkpoint, and the store cannot be read or holds only damaged ones.
    """
    local = list_checkpoints(checkpoints)
    url = url.rstrip("/")
    try:
        stored = list_stored(url, retry=not local)
    except UserError as error:
        if not local:
            raise
        logger.warning(f"continuing from {local[0].name} on this disk; the store may hold a newer one: {error}")
        return None
    damaged = []
    for name in stored:
        if local and step_of(local[0]) >= name.step:
            return None
        try:
            return bring(url, name, checkpoints, fetch)
        except DamagedError as error:
            logger.warning(f"skipping a damaged checkpoint: {error}")
            damaged.append(str(error))
    if damaged and not local:
        raise all_damaged(url, damaged)
    return None


def list_stored(url: str, retry: bool = True) -> list[StoredName]:
    """The checkpoints below the URL that have a manifest, newest first; other names are ignored with one warning.

    Raises:
        UserError: the store cannot be read, or it is none.
    """
    if (store := store_of(url)) is None:
        raise UserError(
            f"checkpoint.upload is {url}: expected s3://bucket/path, gs://bucket/path or az://container/path"
        )
    stored, foreign = stored_names(with_retries(url, lambda deadline: store.names(url), retry))
    if foreign:
        shown = ", ".join(repr(name)[:80] for name in foreign[:3])
        logger.warning(f"{url}: ignoring {len(foreign):,} objects that no run has written there, such as {shown}")
    return stored


def stored_names(names: Sequence[str]) -> tuple[list[StoredName], list[str]]:
    """The checkpoints with a manifest among the names of objects, newest first, and the names of no checkpoint."""
    stored, foreign = [], []
    for name in names:
        directory, _, file = name.partition("/")
        checkpoint = parse_stored_name(directory)
        if checkpoint is None or not (file == MANIFEST or is_tensor_file(file)):
            foreign.append(name)
        elif file == MANIFEST:
            stored.append(checkpoint)
    return sorted(stored, reverse=True), foreign


def bring(url: str, name: StoredName, checkpoints: Path, fetch: Fetch = download) -> Path:
    """Make a stored checkpoint complete on this disk, and return its directory. What is there already stays.

    Raises:
        DamagedError: the store does not hold it as it was written.
        UserError: it cannot be read or kept now.
    """
    address, final = f"{url}/{name}", checkpoints / directory_name(name.step)
    # The name is fixed, so that a start after an interruption continues this download.
    staging = checkpoints / f".{name}.download"
    staging.mkdir(parents=True, exist_ok=True)
    require_owner(staging)
    manifest = fetch_manifest(address, name, staging, fetch)
    if _holds(final, staging):
        shutil.rmtree(staging)
        return final
    size = sum(entry.bytes for entry in manifest.files.values())
    with Progress("downloading the checkpoint", size, "B") as progress:
        for file, entry in manifest.files.items():
            if find_file_corruption(staging / file, entry):  # else an earlier start has downloaded it
                fetch_file(f"{address}/{file}", staging / file, entry, fetch)
            progress.advance(entry.bytes)
    if problem := find_corruption(staging):
        raise DamagedError(f"{address}: {problem}: remove it there to continue from the one before")
    if final.exists():  # damaged, or of an attempt that other disks do not hold
        replaced = final.with_name(f".{final.name}.replaced")
        shutil.rmtree(replaced, ignore_errors=True)
        final.rename(replaced)
    staging.rename(final)
    logger.info(f"downloaded {address}")
    return final


def fetch_manifest(address: str, name: StoredName, directory: Path, fetch: Fetch = download) -> CheckpointManifest:
    """Download the manifest of a stored checkpoint into a directory.

    Raises:
        DamagedError: it is not the manifest of this checkpoint.
        UserError: it cannot be read or kept now.
    """
    if stored_size(f"{address}/{MANIFEST}") > MAX_MANIFEST_BYTES:
        raise DamagedError(f"{address}/{MANIFEST}: over {MAX_MANIFEST_BYTES:,} bytes: not the manifest of a checkpoint")
    fetch(f"{address}/{MANIFEST}", directory / MANIFEST, lambda path: None)
    try:
        manifest = read_manifest(directory)
    except UserError as error:
        raise DamagedError(f"{address}: {error}: remove it there") from error
    if manifest.step != name.step:
        raise DamagedError(f"{address}: its manifest is of step {manifest.step:,}: remove it there")
    return manifest


def _holds(final: Path, staging: Path) -> bool:
    """Whether this disk holds the checkpoint whose manifest is in `staging`."""
    try:
        same = (final / MANIFEST).read_bytes() == (staging / MANIFEST).read_bytes()
    except OSError:
        return False
    return same and find_corruption(final) is None


def fetch_file(url: str, path: Path, entry: FileEntry, fetch: Fetch = download) -> None:
    """Download one file of a stored checkpoint.

    Raises:
        DamagedError: the store has no such file, or it has another size. The content is for the caller to check.
        UserError: it cannot be read or kept now.
    """
    sizes: list[int] = []

    def check(downloaded: Path) -> str | None:
        sizes.append(downloaded.stat().st_size)
        return None if sizes[-1] == entry.bytes else f"{sizes[-1]:,} bytes of {entry.bytes:,}"

    try:
        fetch(url, path, check)
    except TransientError:
        raise
    except UserError as error:
        if (sizes and sizes[-1] != entry.bytes) or not _is_listed(url):
            raise DamagedError(f"{error}: remove this checkpoint there to continue from the one before") from error
        raise


def _is_listed(url: str) -> bool:
    directory, _, file = url.rpartition("/")
    store = store_of(url)
    assert store is not None
    return file in with_retries(directory, lambda deadline: store.names(directory))


def all_damaged(url: str, problems: Sequence[str]) -> UserError:
    return UserError(f"{url}: no checkpoint in it is complete ({'; '.join(problems)}): restore the files")
