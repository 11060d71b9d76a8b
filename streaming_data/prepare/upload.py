"""A prepared data set to an object store, in an order in which a part of it can never be read.

A reader begins at manifest.json and goes on to each source's index.json; these go last, so that until the last moment
there is no data set at the address. Every object carries its SHA-256, by which a second call knows what is already
there: an interrupted upload goes on, a finished one is confirmed, and whatever else the address holds is never touched.

Text that may be of patients goes only where the store has shown, with a file of the tokenizer, that it refuses readers
without credentials and that it encrypts.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from urllib.parse import urlsplit

from ...configs.errors import UserError
from ...storage.put import LocalFile, local_file, put
from ...storage.remote import persist, store_of
from ..phi.patterns import require_deidentified
from ..shards.manifest import read_manifest
from ..shards.mds import INDEX, PackReader
from ..shards.restricted import closed_sources

_PROBE = "tokenizer/tokenizer_config.json"
_CONNECTIONS = 8


def upload(directory: Path, url: str, unprotected: bool = False, say: Callable[[str], None] = print) -> None:
    """Store the data set of `directory` at `url` (s3://bucket/path, gs://... or az://...), or go on where an upload of
    it was interrupted.

    Args:
        unprotected: store sources that are neither public nor synthetic even where anybody may read, or where the
            store does not say that it encrypts.
        say: is told what is done.
    Raises:
        UserError: the data set is damaged, the address holds something else, or the store does not take it.
    """
    url = store_address(url)
    manifest = read_manifest(str(directory))
    require_deidentified(manifest)
    files = _checked_files(directory)
    missing = _missing(files, url)
    to_go = sum(file.size for file in missing)
    say(f"{len(files) - len(missing)} of {len(files)} files are there, {to_go:,} bytes to go")
    if not unprotected and (closed := closed_sources(manifest)):
        _require_protection(files, missing, url, closed)
        missing = [file for file in missing if file.name != _PROBE]
    for stage in (_is_shard, _is_index, _is_manifest):
        _put_all([file for file in missing if stage(file)], url)
    if left := _missing(files, url):
        raise UserError(
            f"{url}/{left[0].name}: is not what was stored; did somebody else write there? Use a new address"
        )
    say(f"{url}: {len(files)} files, {sum(file.size for file in files):,} bytes, all confirmed by the store")


def store_address(url: str) -> str:
    """The address without a slash at its end.

    Raises:
        UserError: a data set cannot be stored there.
    """
    url = url.rstrip("/")
    if store_of(url) is None or not urlsplit(url).netloc or not urlsplit(url).path:
        raise UserError(
            f"{url}: expected s3://bucket/path, gs://bucket/path or az://container/path. Other stores are written "
            "through their S3 protocol (set S3_ENDPOINT_URL) or with their own copying command, manifest.json last"
        )
    return url


def _require_protection(files: list[LocalFile], missing: list[LocalFile], url: str, closed: list[str]) -> None:
    """Store one file that holds no text, and ask for it as a stranger would."""
    probe = next(file for file in files if file.name == _PROBE)
    if probe in missing:
        put(probe, f"{url}/{_PROBE}")
    store = _store(url)
    problem = ""
    if persist(url, lambda deadline: store.is_public(f"{url}/{_PROBE}")):
        problem = "anybody may read what lies there"
    elif not persist(url, lambda deadline: store.is_encrypted(f"{url}/{_PROBE}")):
        problem = "the store does not say that it encrypts what it holds"
    if problem:
        raise UserError(
            f"{url}: {problem}, and {', '.join(closed)} may hold text of patients (neither public nor synthetic). "
            f"Nothing but {_PROBE} was stored. Protect the bucket, or take it upon you with --unprotected"
        )


def _checked_files(directory: Path) -> list[LocalFile]:
    """Every file of the data set, its shards checked against their indexes."""
    for index in sorted(directory.rglob(INDEX)):
        PackReader(str(index.parent)).verify()
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    with ThreadPoolExecutor() as executor:
        return list(executor.map(lambda path: local_file(directory, path), paths))


def _missing(files: Iterable[LocalFile], url: str) -> list[LocalFile]:
    """The files that the store does not hold yet. It is an error if it holds anything else."""
    names = persist(url, lambda deadline: _store(url).names(url))
    with ThreadPoolExecutor(_CONNECTIONS) as executor:
        stored = dict(zip(names, executor.map(lambda name: _stored(f"{url}/{name}"), names), strict=True))
    ours = {file.name: (file.size, file.sha256) for file in files}
    if foreign := [name for name, content in stored.items() if ours.get(name) != content]:
        raise UserError(
            f"{url}: already holds {foreign[0]} ({len(foreign)} such files), which is not of this data set. Nothing "
            "there is ever overwritten: choose a new address for each data set"
        )
    return [file for file in files if file.name not in stored]


def _stored(url: str) -> tuple[int, str | None]:
    return persist(url, lambda deadline: _store(url).size_and_sha256(url))


def _put_all(files: Iterable[LocalFile], url: str) -> None:
    with ThreadPoolExecutor(_CONNECTIONS) as executor:
        futures = [executor.submit(put, file, f"{url}/{file.name}") for file in files]
        try:
            for future in futures:
                future.result()
        except BaseException:
            executor.shutdown(cancel_futures=True)
            raise


def _store(url: str) -> ModuleType:
    store = store_of(url)
    assert store is not None
    return store


def _is_manifest(file: LocalFile) -> bool:
    return file.name == "manifest.json"


def _is_index(file: LocalFile) -> bool:
    return file.path.name == INDEX


def _is_shard(file: LocalFile) -> bool:
    """A shard, or anything else that is of no use without an index and the manifest."""
    return not _is_manifest(file) and not _is_index(file)
