"""Upload of a prepared data set to an object store, in an order that never exposes an incomplete data set.

A reader starts at manifest.json and continues with the index.json of each source. These files are uploaded last, so
until the end there is no data set at the address. The SHA-256 of every object shows a second call what is already
there: an interrupted upload continues, a finished one is confirmed, and anything else at the address is never touched.

Text that may be of patients is uploaded only if a file of the tokenizer, uploaded first, shows that the store refuses
unauthenticated readers and encrypts its objects.
"""

import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from urllib.parse import urlsplit

from ...configs.errors import UserError
from ...configs.progress import Progress
from ...storage.put import LocalFile, local_file, put
from ...storage.remote import Store, store_of, with_retries
from ..phi.patterns import require_deidentified
from ..shards.manifest import NAME as MANIFEST
from ..shards.manifest import read_manifest
from ..shards.mds import INDEX, PackReader
from ..shards.restricted import restricted_sources

logger = logging.getLogger(__name__)

_PROBE = "tokenizer/tokenizer_config.json"
_CONNECTIONS = 8


def upload(directory: Path, url: str, unprotected: bool = False) -> None:
    """Upload the data set in `directory` to `url` (s3://bucket/path, gs://... or az://...), or continue an interrupted
    upload of it.

    Args:
        unprotected: upload restricted sources even if the address is publicly readable, or the store does not report
            encryption.
    Raises:
        UserError: the data set is corrupt, the address holds something else, or the store refuses it.
    """
    url = store_address(url)
    manifest = read_manifest(str(directory))
    require_deidentified(manifest.sources)
    files = _checked_files(directory)
    missing = _missing(files, url)
    remaining = sum(file.size for file in missing)
    logger.info(f"{len(files) - len(missing)} of {len(files)} files are uploaded, {remaining:,} bytes remain")
    if not unprotected and (restricted := restricted_sources(manifest.sources)):
        _require_protection(files, missing, url, restricted)
        missing = [file for file in missing if file.name != _PROBE]
    with Progress("uploading", sum(file.size for file in missing), "B") as progress:
        for stage in (_is_shard, _is_index, _is_manifest):
            _put_all([file for file in missing if stage(file)], url, progress)
    if lost := _missing(files, url):
        raise UserError(
            f"{url}/{lost[0].name}: the object differs from what was uploaded; was it modified concurrently? Use a new "
            "address"
        )
    logger.info(f"{url}: {len(files)} files, {sum(file.size for file in files):,} bytes, all confirmed by the store")


def store_address(url: str) -> str:
    """The address without a trailing slash.

    Raises:
        UserError: a data set cannot be uploaded there.
    """
    url = url.rstrip("/")
    if store_of(url) is None or not urlsplit(url).netloc or not urlsplit(url).path:
        raise UserError(
            f"{url}: expected s3://bucket/path, gs://bucket/path or az://container/path. For other stores use their S3 "
            "protocol (set S3_ENDPOINT_URL) or their own copy command, with manifest.json last"
        )
    return url


def _require_protection(files: list[LocalFile], missing: list[LocalFile], url: str, restricted: list[str]) -> None:
    """Upload one file that contains no text, and test whether unauthenticated users can read it and it is encrypted."""
    probe = next(file for file in files if file.name == _PROBE)
    if probe in missing:
        put(probe, f"{url}/{_PROBE}")
    store = _store(url)
    problem = ""
    if with_retries(url, lambda deadline: store.is_public(f"{url}/{_PROBE}")):
        problem = "objects there are publicly readable"
    elif not with_retries(url, lambda deadline: store.is_encrypted(f"{url}/{_PROBE}")):
        problem = "the store does not report encryption of its objects"
    if problem:
        raise UserError(
            f"{url}: {problem}, and {', '.join(restricted)} may hold text of patients (neither public nor synthetic). "
            f"Only {_PROBE} was uploaded. Protect the bucket, or override with --unprotected"
        )


def _checked_files(directory: Path) -> list[LocalFile]:
    """Every file of the data set, after checking the shards against their indexes."""
    readers = [PackReader(str(index.parent)) for index in sorted(directory.rglob(INDEX))]
    with Progress("checking", len(readers), "splits") as progress:
        for reader in readers:
            reader.verify()
            progress.advance()
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    size = sum(path.stat().st_size for path in paths)
    with Progress("hashing", size, "B") as progress, ThreadPoolExecutor() as executor:
        return list(executor.map(lambda path: local_file(directory, path, progress.advance), paths))


def _missing(files: Iterable[LocalFile], url: str) -> list[LocalFile]:
    """The files that are not at the address yet. Anything else at the address is an error."""
    names = with_retries(url, lambda deadline: _store(url).names(url))
    with ThreadPoolExecutor(_CONNECTIONS) as executor:
        stored = dict(zip(names, executor.map(lambda name: _stored(f"{url}/{name}"), names), strict=True))
    expected = {file.name: (file.size, file.sha256) for file in files}
    if foreign := [name for name, content in stored.items() if expected.get(name) != content]:
        raise UserError(
            f"{url}: already holds {foreign[0]} ({len(foreign)} such files), which does not belong to this data set. "
            "Nothing is ever overwritten: choose a new address for each data set"
        )
    return [file for file in files if file.name not in stored]


def _stored(url: str) -> tuple[int, str | None]:
    return with_retries(url, lambda deadline: _store(url).size_and_sha256(url))


def _put_all(files: Iterable[LocalFile], url: str, progress: Progress) -> None:
    with ThreadPoolExecutor(_CONNECTIONS) as executor:
        futures = {executor.submit(put, file, f"{url}/{file.name}"): file.size for file in files}
        try:
            for future in as_completed(futures):
                future.result()
                progress.advance(futures[future])
        except BaseException:
            executor.shutdown(cancel_futures=True)
            raise


def _store(url: str) -> Store:
    store = store_of(url)
    assert store is not None
    return store


def _is_manifest(file: LocalFile) -> bool:
    return file.name == MANIFEST


def _is_index(file: LocalFile) -> bool:
    return file.path.name == INDEX


def _is_shard(file: LocalFile) -> bool:
    """A shard, or another file that readers reach only through an index or the manifest."""
    return not _is_manifest(file) and not _is_index(file)
