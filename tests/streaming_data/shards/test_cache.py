"""A bounded cache never exceeds its limit and never evicts a shard in use, even if processes are killed."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from filelock import FileLock

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.storage import remote
from clinical_modernbert.streaming_data.shards.cache import BoundedCache
from clinical_modernbert.streaming_data.shards.mds import PackReader, PackWriter
from clinical_modernbert.streaming_data.shards.pack import Pack

PACKS = 100


def numbered(number: int) -> Pack:
    tokens = np.arange(20, dtype=np.uint16) + number
    return Pack(tokens, np.array([20], np.int32), tokens % 3 == 0, [f"d{number}"])


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Packs in an object store at s3://bucket/notes; returns the names of the requested files."""
    with PackWriter(tmp_path / "notes", shard_bytes=1500) as writer:
        for number in range(PACKS):
            writer.write(numbered(number))
    requests: list[str] = []

    def get(url: str, path: Path, on_progress: Callable[[int], None]) -> None:
        requests.append(url.rsplit("/", 1)[1])
        shutil.copy(tmp_path / "notes" / requests[-1], path)

    monkeypatch.setitem(remote.STORES, "s3", SimpleNamespace(get=get))
    monkeypatch.setattr(remote, "FIRST_PAUSE_SECONDS", 0)
    return requests


def opened(cache: Path, shards: float, max_held: int = 1) -> PackReader:
    """A reader whose cache has room for so many shards."""
    largest = max(shard.bytes for shard in PackReader("s3://bucket/notes", cache).shards)
    return PackReader("s3://bucket/notes", cache, int(shards * largest), max_held)


def size(cache: Path) -> int:
    return sum(path.stat().st_size for path in cache.rglob("*.mds*") if path.suffix != ".lock")


def firsts(reader: PackReader) -> list[int]:
    """The number of the first pack of each shard."""
    return np.cumsum([0, *(shard.packs for shard in reader.shards[:-1])]).tolist()


def test_every_pack_is_read_within_the_limit(store: list[str], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    reader = opened(cache, 2.5)
    assert reader._bounded is not None
    assert len(reader.shards) > 4
    for number in [*range(PACKS), *range(PACKS)]:
        assert reader[number].doc_ids == [f"d{number}"]
        assert size(cache) <= reader._bounded.limit
    assert len(store) == 2 + 2 * len(reader.shards)  # two indexes, and each shard once per pass


def test_the_least_recently_used_shard_is_evicted(store: list[str], tmp_path: Path) -> None:
    reader = opened(tmp_path / "cache", 3.5)
    for shard, used in ((0, 1), (1, 2), (2, 3), (0, 4)):
        reader[firsts(reader)[shard]]
        path = next((tmp_path / "cache").rglob(reader.shards[shard].name))
        os.utime(path, (used, used))
    reader[firsts(reader)[3]]
    cached = {path.name for path in (tmp_path / "cache").rglob("*.mds")}
    assert cached == {reader.shards[number].name for number in (0, 2, 3)}


HOLD = """
import sys, time
from pathlib import Path
from clinical_modernbert.streaming_data.shards.cache import BoundedCache
held = BoundedCache(Path(sys.argv[1]).parent.parent, 0, 9)
for path in sys.argv[1:]:
    held.hold(Path(path))
print("held", flush=True)
time.sleep(600)
"""


def test_shards_that_another_process_reads_stay_until_it_is_killed(store: list[str], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    reader = opened(cache, 2.5)
    for first in firsts(reader)[:2]:
        reader[first]
    paths = sorted(cache.rglob("*.mds"))
    other = subprocess.Popen([sys.executable, "-c", HOLD, *map(str, paths)], stdout=subprocess.PIPE)
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(UserError, match=r"bytes of shards are being read .* data\.cache_gigabytes allows"):
            reader[firsts(reader)[2]]
        reader.fetch_ahead(3)  # ignores the error, which reading raises
        assert sorted(cache.rglob("*.mds")) == paths
    finally:
        other.send_signal(signal.SIGKILL)
        other.wait()
    assert reader[firsts(reader)[2]].doc_ids == [f"d{firsts(reader)[2]}"]
    assert reader._bounded is not None
    assert size(cache) <= reader._bounded.limit


def test_readers_of_a_small_cache_do_not_affect_each_other(store: list[str], tmp_path: Path) -> None:
    readers = [opened(tmp_path / "cache", 4.5) for _ in range(3)]
    orders = [np.random.default_rng(seed).permutation(PACKS).tolist() for seed in range(3)]

    def read(reader: PackReader, order: list[int]) -> bool:
        return all(reader[number].doc_ids == [f"d{number}"] for number in order)

    with ThreadPoolExecutor(3) as executor:
        assert list(executor.map(read, readers, orders)) == [True] * 3


def test_a_partial_file_of_a_killed_process_is_removed_and_a_current_download_is_not(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    (cache / "a").mkdir(parents=True)
    abandoned, current = cache / "a/shard.00000.mds.part", cache / "a/shard.00001.mds.part"
    for path in (abandoned, current):
        path.write_bytes(bytes(100))
    with FileLock(f"{current.with_suffix('')}.lock"), pytest.raises(UserError, match="100 bytes of shards"):
        BoundedCache(cache, 150, 1).make_room(100)
    assert not abandoned.exists()
    assert current.exists()


def test_a_plain_directory_is_not_a_cache(store: list[str], tmp_path: Path) -> None:
    before = sorted((tmp_path / "notes").iterdir())
    reader = PackReader(str(tmp_path / "notes"), tmp_path / "cache", limit=1, max_held=1)
    assert [reader[number].doc_ids for number in range(PACKS)] == [[f"d{number}"] for number in range(PACKS)]
    assert sorted((tmp_path / "notes").iterdir()) == before


def test_a_corrupt_shard_in_a_bounded_cache_is_downloaded_again(store: list[str], tmp_path: Path) -> None:
    opened(tmp_path / "cache", 2.5)[0]
    (shard,) = (tmp_path / "cache").rglob("*.mds")
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    assert opened(tmp_path / "cache", 2.5)[3].doc_ids == ["d3"]
    assert store.count(shard.name) == 2


@pytest.mark.parametrize("limited", [False, True])
@pytest.mark.parametrize("damage", ["cut", "emptied", "overwritten", "one byte", "replaced"])
def test_a_shard_that_is_damaged_after_its_check_is_fetched_again(
    store: list[str], tmp_path: Path, limited: bool, damage: str
) -> None:
    cache = tmp_path / "cache"
    reader = opened(cache, 5) if limited else PackReader("s3://bucket/notes", cache)
    before = reader[0]
    path = next(cache.rglob(reader.shards[0].name))
    spoil(path, damage)
    assert [reader[number].doc_ids for number in (0, 1)] == [["d0"], ["d1"]]
    assert np.array_equal(reader[0].tokens, before.tokens)
    assert store.count(reader.shards[0].name) == 2


@pytest.mark.parametrize("damage", ["cut", "emptied", "overwritten", "one byte", "replaced"])
def test_a_local_shard_that_is_damaged_after_its_check_is_named(store: list[str], tmp_path: Path, damage: str) -> None:
    reader = PackReader(str(tmp_path / "notes"))
    reader[0]
    path = tmp_path / "notes" / reader.shards[0].name
    spoil(path, damage)
    with pytest.raises(UserError, match=f"^{path}: this shard.*restore this file from its source"):
        reader[0]


def spoil(path: Path, damage: str) -> None:
    content = path.read_bytes()
    spoiled = {
        "cut": content[: len(content) // 2],
        "emptied": b"",
        "overwritten": bytes(len(content)),
        "one byte": content[:-1] + bytes([content[-1] ^ 1]),
        "replaced": content[::-1],
    }[damage]
    if damage == "replaced":
        path.with_suffix(".new").write_bytes(spoiled)
        path.with_suffix(".new").replace(path)
    else:
        path.write_bytes(spoiled)
