"""Packs at rest: MDS shards in a directory or an object store, read by index.

Reading is random access over MosaicML's format, not its iterator: the order of training is decided elsewhere
(`order.py`), so all that is asked of a shard is "pack i, and no other". Every shard's hash is checked before its
first use, whether it was downloaded now or lay in the cache, and a failure is an error, never a shorter epoch.
"""

import hashlib
import json
import os
import tempfile
from bisect import bisect_right
from itertools import accumulate
from pathlib import Path
from types import TracebackType

from filelock import FileLock

from ..configs.errors import UserError
from .mosaic import MDSWriter, Reader, get_hash, get_index_basename, reader_from_json
from .packs import MDS_COLUMNS, Pack, from_mds, to_mds
from .remote import download, is_remote

HASH = "xxh3_64"
SHARD_BYTES = 1 << 26


class PackWriter:
    """Writes packs into MDS shards of a new directory; the index appears only when the `with` block ends well."""

    def __init__(self, directory: Path, shard_bytes: int = SHARD_BYTES) -> None:
        self._writer = MDSWriter(out=str(directory), columns=MDS_COLUMNS, hashes=[HASH], size_limit=shard_bytes)

    def write(self, pack: Pack) -> None:
        self._writer.write(to_mds(pack))

    def __enter__(self) -> "PackWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self._writer.finish()
        else:
            self._writer.cancel_future_jobs()


class PackReader:
    """The packs of one source and split: `len(reader)` of them, `reader[i]` the i-th.

    Args:
        address: a directory, or the URL of one in an object store (s3://, gs://, azure://, ...).
        cache: where downloaded shards are kept. It may be shared by all ranks of a node and by several runs, since
            an entry is named by the content of the data set's index. Unused for a plain directory.
    Attributes:
        fingerprint: a hash of the index, which holds the hash of every shard: it names the data's content.
    """

    def __init__(self, address: str, cache: Path | None = None) -> None:
        self.address = address.rstrip("/")
        index = _read_index(self.address)
        self.fingerprint = hashlib.sha256(index).hexdigest()
        self._remote = is_remote(address)
        if self._remote:
            self._directory = (cache or _default_cache()) / self.fingerprint[:16]
            self._directory.mkdir(parents=True, exist_ok=True)
        else:
            self._directory = Path(self.address)
        self._shards: list[Reader] = [
            reader_from_json(str(self._directory), "", shard) for shard in json.loads(index)["shards"]
        ]
        self._ends = list(accumulate(shard.samples for shard in self._shards))
        self._ready: set[int] = set()

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> Pack:
        if not 0 <= index < len(self):
            raise IndexError(f"pack {index} of {len(self)} in {self.address}")
        number = bisect_right(self._ends, index)
        shard = self._shards[number]
        if number not in self._ready:
            self._make_ready(shard)
            self._ready.add(number)
        return from_mds(shard[index - (self._ends[number] - shard.samples)])

    def shard_sizes(self) -> list[int]:
        """Packs in each shard; packs of one shard lie next to each other in the index."""
        return [shard.samples for shard in self._shards]

    def _make_ready(self, shard: Reader) -> None:
        path = self._directory / shard.raw_data.basename
        if not self._remote:
            if problem := _damage(path, shard):
                raise UserError(f"{path}: {problem}; restore this file from its source, or prepare the data again")
            return
        with FileLock(f"{path}.lock"):
            if _damage(path, shard) is None:
                return
            path.unlink(missing_ok=True)
            download(f"{self.address}/{path.name}", path, check=lambda got: _damage(got, shard))


def _damage(path: Path, shard: Reader) -> str | None:
    """What is wrong with a shard's file, or None if it is the very file that was written."""
    if not path.is_file():
        return "this shard is missing"
    size = path.stat().st_size
    if size != shard.raw_data.bytes:
        return f"this shard has {size:,} bytes where its index says {shard.raw_data.bytes:,}"
    expected = shard.raw_data.hashes.get(HASH)
    if expected is None:
        return f"its index holds no {HASH} hash: it was not written by `cmbert data prepare`"
    if get_hash(HASH, path.read_bytes()) != expected:
        return f"this shard's {HASH} differs from its index: the file is damaged"
    return None


def _read_index(address: str) -> bytes:
    name = get_index_basename()
    if is_remote(address):
        with tempfile.TemporaryDirectory() as aside:
            path = Path(aside) / name
            download(f"{address}/{name}", path, check=lambda got: None)
            return _checked_index(path.read_bytes(), f"{address}/{name}")
    path = Path(address) / name
    if not path.is_file():
        raise UserError(f"{path}: no such file; expected a directory of MDS shards written by `cmbert data prepare`")
    return _checked_index(path.read_bytes(), str(path))


def _checked_index(index: bytes, name: str) -> bytes:
    try:
        json.loads(index)["shards"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{name}: not an MDS index ({error}); restore the file or prepare the data again") from error
    return index


def _default_cache() -> Path:
    return Path(os.environ.get("CMBERT_CACHE", Path.home() / ".cache" / "clinical_modernbert")) / "shards"
