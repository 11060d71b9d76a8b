"""MDS shards of packs in a directory or an object store, read by index.

Reading is random access to MosaicML's format, without its iterator: the order of training is computed in `order.py`,
so a shard only has to return pack i. The hash of every shard is checked before its first use, whether it was just
downloaded or was in the cache, and a failure is an error, never a shorter epoch.
"""

import hashlib
import logging
import os
import re
import struct
from bisect import bisect_right
from collections.abc import Collection
from contextlib import nullcontext, suppress
from itertools import accumulate
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xxhash
from filelock import FileLock

from ...configs.errors import UserError
from ...configs.json_text import parse_json_object
from ...configs.limits import INDEX_BYTES
from ...configs.limits import SHARD_BYTES as MOST_SHARD_BYTES
from ...configs.names import shorten
from ...storage.remote import CorruptDataError, download, is_remote, read
from ...storage.trust import require_own
from .cache import BoundedCache
from .layout import (
    COLUMNS,
    HASH,
    INDEX,
    SHARD_BYTES,
    ShardFile,
    describe_shard,
    encode_sample,
    shard_ends,
    shard_header,
    shard_name,
    write_index,
)
from .pack import MDS_COLUMNS, Pack, from_mds, to_mds
from .receipts import confirm, is_confirmed

if TYPE_CHECKING:
    from ...storage.mosaic import MDSReader

logger = logging.getLogger(__name__)

_SHARD_NAME = re.compile(r"shard\.\d{5,9}\.mds", re.ASCII)
_HASH = re.compile(r"[0-9a-f]{16}", re.ASCII)


_MOST_EXTRA = 1 << 10  # bytes of a shard's header per sample, the part that all of them share included


class PackWriter:
    """Write packs into MDS shards of a new directory; the index is written only if the `with` block succeeds."""

    def __init__(self, directory: Path, shard_bytes: int = SHARD_BYTES) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise FileExistsError(f"{directory}: not empty")
        self._directory = directory
        self._shard_bytes = shard_bytes
        self._samples: list[bytes] = []
        self._sizes: list[int] = []
        self._pending = 0
        self._shards: list[ShardFile] = []

    def write(self, pack: Pack) -> None:
        self._samples.append(encode_sample(to_mds(pack)))
        self._sizes.append(len(self._samples[-1]))
        self._pending += self._sizes[-1] + _MOST_EXTRA
        if self._pending > self._shard_bytes and len(ends := shard_ends(self._sizes, self._shard_bytes)) > 1:
            self._write_shard(ends[0])

    def _write_shard(self, count: int) -> None:
        path = self._directory / shard_name(len(self._shards))
        path.write_bytes(b"".join([shard_header(self._sizes[:count], self._shard_bytes), *self._samples[:count]]))
        self._shards.append(describe_shard(path, count))
        del self._samples[:count], self._sizes[:count]
        self._pending = sum(self._sizes) + _MOST_EXTRA * len(self._sizes)

    def __enter__(self) -> "PackWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            if self._samples:
                self._write_shard(len(self._samples))
            write_index(self._directory, self._shards, self._shard_bytes)


class Shard(NamedTuple):
    """The index entry of one shard."""

    name: str
    bytes: int
    hash: str
    packs: int


class PackReader:
    """The packs of one source and split: `len(reader)` of them, `reader[i]` is the i-th.

    Args:
        address: a directory, or the URL of one in an object store (s3://, gs://, azure://, ...).
        cache: directory for downloaded shards. All ranks of a node and several runs may share it, since its entries are
            named by the hash of the index. Unused for a plain directory.
        limit: of the cache, in bytes; None: no limit.
        max_held: how many shards of a limited cache are held for reading at once; `hold_at_most` changes it.
    Attributes:
        fingerprint: a hash of the index, which holds the hash of every shard: it identifies the content.
        shards: in the order of their packs.
    """

    def __init__(self, address: str, cache: Path | None = None, limit: int | None = None, max_held: int = 16) -> None:
        self.address = address.rstrip("/")
        self.fingerprint, self.shards = read(f"{self.address}/{INDEX}", _parse_index)
        self._remote = is_remote(address)
        cache = cache or _default_cache()
        self._directory = cache / self.fingerprint[:16] if self._remote else Path(self.address)
        if self._remote:
            require_own(self._directory)
        self._bounded = BoundedCache(cache, limit, max_held) if self._remote and limit is not None else None
        self._ends = list(accumulate(shard.packs for shard in self.shards))
        self._ready: dict[int, tuple[int, ...]] = {}

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> Pack:
        if not 0 <= index < len(self):
            raise IndexError(f"pack {index} of {len(self)} in {self.address}")
        number = self.shard_of(index)
        shard = self.shards[number]
        reader, offset = _mds_reader(self._directory, shard), index - (self._ends[number] - shard.packs)
        try:
            if not self._is_ready(number):
                self._make_ready(number)
            return _read_pack(reader, offset, self._directory / shard.name)
        except FileNotFoundError:  # another process removed it to make room, or a user did
            pass
        except UserError:
            raise
        except Exception:
            # The file may have been damaged after its check; then it is fetched again, or named in an error.
            if not _find_corruption(self._directory / shard.name, shard):
                raise
            logger.warning(f"{self._directory / shard.name}: this shard was damaged after it was checked")
        self._ready.pop(number, None)
        return self[index]

    def shard_of(self, index: int) -> int:
        """The number of the shard that holds pack `index`."""
        return bisect_right(self._ends, index)

    def keep(self, numbers: Collection[int]) -> None:
        """Let a limited cache remove all shards but these."""
        if self._bounded is not None:
            self._bounded.release_all_but({self._directory / self.shards[number].name for number in numbers})

    def hold_at_most(self, shards: int) -> None:
        """Hold at most so many shards of a limited cache at once."""
        if self._bounded is not None:
            self._bounded.max_held = shards

    def fetch_ahead(self, number: int) -> None:
        """Prepare a shard that will soon be needed, unless another process is downloading it. Errors are ignored here:
        reading its packs retries for longer, and raises."""
        if not self._is_ready(number):
            with suppress(UserError, FileNotFoundError):
                self._make_ready(number, patient=False)

    def verify(self) -> None:
        """Check every shard.

        Raises:
            UserError: one is missing or corrupt.
        """
        for number in range(len(self.shards)):
            self._make_ready(number)

    def _is_ready(self, number: int) -> bool:
        """Whether the shard was checked and its file is still the one that was."""
        path = self._directory / self.shards[number].name
        held = self._bounded is None or self._bounded.holds(path)
        return held and number in self._ready and self._ready[number] == _version(path)

    def _make_ready(self, number: int, patient: bool = True) -> None:
        """Check the shard, after downloading it if the local copy is missing or corrupt.

        Args:
            patient: wait for another process that is downloading it, and retry.
        """
        shard = self.shards[number]
        path = self._directory / shard.name
        if not self._remote:
            if problem := _find_corruption(path, shard):
                raise UserError(f"{path}: {problem}; restore this file from its source, or prepare the data again")
        elif not is_confirmed(path, shard.hash):
            self._check(shard, path, patient)
        if self._bounded is not None:
            self._bounded.hold(path)
        self._ready[number] = _version(path)

    def _check(self, shard: Shard, path: Path, patient: bool) -> None:
        """Check the cached shard while no other process does, and download it if it is missing or corrupt."""
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = FileLock(f"{path}.lock", timeout=-1 if patient else 0)
            with lock if os.access(self._directory, os.W_OK) else nullcontext():
                if is_confirmed(path, shard.hash):
                    return
                if _find_corruption(path, shard):
                    if self._bounded is not None:
                        self._bounded.make_room(shard.bytes, needed_now=patient)
                    url = f"{self.address}/{shard.name}"
                    download(url, path, lambda file: _find_corruption(file, shard), retry=patient)
                confirm(path, shard.hash)
        except OSError as error:  # such as a directory that is read-only, or without file locks
            raise UserError(f"{self._directory}: cannot keep shards there ({error}); set data.cache") from error


def _read_pack(reader: "MDSReader", offset: int, path: Path) -> Pack:
    try:
        return from_mds(reader[offset])
    except (ValueError, TypeError, KeyError, IndexError, RecursionError, struct.error) as error:
        raise UserError(
            f"{path}: pack {offset} is damaged ({type(error).__name__}); restore this file from its source, or prepare "
            "the data again"
        ) from error


def _mds_reader(directory: Path, shard: Shard) -> "MDSReader":
    from ...storage.mosaic import FileInfo, MDSReader

    return MDSReader(
        dirname=str(directory),
        split=None,
        column_encodings=[MDS_COLUMNS[name] for name in COLUMNS],
        column_names=COLUMNS,
        column_sizes=[None] * len(MDS_COLUMNS),
        compression=None,
        hashes=[HASH],
        raw_data=FileInfo(shard.name, shard.bytes, {HASH: shard.hash}),
        samples=shard.packs,
        size_limit=None,
        zip_data=None,
    )


def _version(path: Path) -> tuple[int, ...]:
    """Changes when the file is replaced or written to.

    Raises:
        FileNotFoundError: it was removed.
    """
    status = path.stat()
    return status.st_size, status.st_ino, status.st_mtime_ns


def _find_corruption(path: Path, shard: Shard) -> str | None:
    """What is wrong with the file of a shard, or None if it is identical to what was written."""
    try:
        if not path.is_file():
            return "this shard is missing"
        size = path.stat().st_size
        if size != shard.bytes:
            return f"this shard has {size:,} bytes, but its index expects {shard.bytes:,}"
        content = path.read_bytes()
    except OSError as error:
        return f"this shard cannot be read: {error.strerror}"
    if xxhash.xxh3_64_hexdigest(content) != shard.hash:
        return f"this shard's {HASH} differs from its index: the file is corrupt"
    if (packs := int.from_bytes(content[:4], "little")) != shard.packs:
        return f"this shard has {packs:,} packs, but its index expects {shard.packs:,}: the index is corrupt"
    if not _offsets_are_valid(content, packs):
        return "this shard's header has offsets outside it or out of order: the file is corrupt"
    return None


def _offsets_are_valid(content: bytes, packs: int) -> bool:
    """Whether the packs that a shard's header names follow one another inside the shard."""
    header = 4 * (packs + 2)
    if len(content) < header:
        return False
    offsets = np.frombuffer(content, "<u4", packs + 1, 4)
    return bool(offsets[0] >= header and offsets[-1] <= len(content) and np.all(offsets[:-1] <= offsets[1:]))


def _parse_index(index: bytes) -> tuple[str, list[Shard]]:
    """The hash of the index, and its shards."""
    try:
        shards = [_parse_shard(shard) for shard in parse_json_object(index, INDEX_BYTES)["shards"]]
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        problem = f"not an index of packs written by `cmbert data prepare` ({type(error).__name__}: {error})"
        raise CorruptDataError(problem) from error
    return hashlib.sha256(index).hexdigest(), shards


def _parse_shard(entry: dict[str, Any]) -> Shard:
    if entry["column_names"] != COLUMNS or entry["zip_data"] is not None:
        raise ValueError(f"expected uncompressed columns {COLUMNS}, got {entry['column_names']}")
    data = entry["raw_data"]
    if not _SHARD_NAME.fullmatch(data["basename"]):
        raise ValueError(f"expected a shard with a name like shard.00000.mds, got {shorten(data['basename'])}")
    if not _HASH.fullmatch(data["hashes"][HASH]):
        raise ValueError(f"expected the {HASH} of a shard, got {shorten(data['hashes'][HASH])}")
    size, packs = data["bytes"], entry["samples"]
    if type(size) is not int or not 0 <= size <= MOST_SHARD_BYTES:
        raise ValueError(f"expected a shard of at most {MOST_SHARD_BYTES:,} bytes, got {shorten(size)}")
    if type(packs) is not int or not 0 <= packs <= size // 4:
        raise ValueError(f"{shorten(packs)} packs cannot be in {size:,} bytes")
    return Shard(data["basename"], size, data["hashes"][HASH], packs)


def _default_cache() -> Path:
    return Path(os.environ.get("CMBERT_CACHE", Path.home() / ".cache" / "clinical_modernbert")) / "shards"
