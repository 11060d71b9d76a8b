"""Shards on disk: every pack by its number, and one clear error for anything that can be wrong with them."""

import json
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import xxhash
from filelock import FileLock

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.storage import remote
from clinical_modernbert.storage.mosaic import MDSWriter
from clinical_modernbert.streaming_data.shards import mds
from clinical_modernbert.streaming_data.shards.mds import PackReader, PackWriter
from clinical_modernbert.streaming_data.shards.pack import Pack

PACKS = 100


def numbered(number: int) -> Pack:
    n = 10 + number % 7
    tokens = (np.arange(n) * 31 + number * 1009).astype(np.uint16)
    return Pack(tokens, np.array([4, n - 4], np.int32), tokens % 3 == 0, [f"a{number}", f"b{number}"])


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("shards") / "notes"
    with PackWriter(directory, shard_bytes=1500) as writer:
        for number in range(PACKS):
            writer.write(numbered(number))
    return directory


@pytest.fixture
def copied(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "notes"))


def test_packs_are_read_by_number_in_any_order(written: Path) -> None:
    reader = PackReader(str(written) + "/")
    assert len(reader) == PACKS == sum(shard.packs for shard in reader.shards)
    assert len(reader.shards) > 5
    for number in np.random.default_rng(0).permutation(PACKS).tolist():
        pack, expected = reader[number], numbered(number)
        np.testing.assert_array_equal(pack.tokens, expected.tokens)
        np.testing.assert_array_equal(pack.lengths, expected.lengths)
        np.testing.assert_array_equal(pack.word_starts, expected.word_starts)
        assert pack.doc_ids == expected.doc_ids
    for number in (-1, PACKS):
        with pytest.raises(IndexError, match=f"pack {number} of {PACKS}"):
            reader[number]


def test_the_fingerprint_identifies_the_content(written: Path, copied: Path, tmp_path: Path) -> None:
    assert PackReader(str(copied)).fingerprint == PackReader(str(written)).fingerprint
    with PackWriter(tmp_path / "other", shard_bytes=1500) as writer:
        for number in range(PACKS):
            writer.write(numbered(number + (number == 50)))
    assert PackReader(str(tmp_path / "other")).fingerprint != PackReader(str(written)).fingerprint


def flip_a_bit(shard: Path) -> None:
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)


def truncate(shard: Path) -> None:
    shard.write_bytes(shard.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("corrupt", "problem"),
    [(flip_a_bit, "is corrupt"), (truncate, "bytes, but its index expects"), (Path.unlink, "missing")],
)
def test_a_corrupt_shard_is_one_error(copied: Path, corrupt: Callable[[Path], None], problem: str) -> None:
    corrupt(copied / "shard.00001.mds")
    reader = PackReader(str(copied))
    reader[0]
    with pytest.raises(UserError, match=problem) as caught:
        reader[reader.shards[0].packs]
    message = str(caught.value)
    assert str(copied / "shard.00001.mds") in message
    assert "prepare the data again" in message
    reader.fetch_ahead(1)  # ignores the error, which reading raises


def edit_index(directory: Path, edit: Callable[[dict], object]) -> None:
    index = json.loads((directory / "index.json").read_text())
    edit(index)
    (directory / "index.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    "edit",
    [
        lambda index: index.pop("shards"),
        lambda index: index["shards"][2].pop("samples"),
        lambda index: index["shards"][2]["raw_data"]["hashes"].clear(),
        lambda index: index["shards"][2]["raw_data"].update(basename="../../shard.00002.mds"),
        lambda index: index["shards"][2].update(zip_data={"basename": "shard.00002.mds.zstd"}),
        lambda index: index["shards"][2]["column_names"].reverse(),
    ],
)
def test_a_corrupt_index_is_one_error(copied: Path, edit: Callable[[dict], object]) -> None:
    edit_index(copied, edit)
    with pytest.raises(UserError, match="not an index of packs") as caught:
        PackReader(str(copied))
    assert str(copied / "index.json") in str(caught.value)


def test_a_truncated_or_missing_index_is_one_error(copied: Path) -> None:
    truncate(copied / "index.json")
    with pytest.raises(UserError, match=r"index\.json: not an index of packs"):
        PackReader(str(copied))
    (copied / "index.json").unlink()
    with pytest.raises(UserError, match=r"index\.json: no such file; expected .*cmbert data prepare"):
        PackReader(str(copied))


def test_a_wrong_count_in_the_index_is_detected_by_its_shard(copied: Path) -> None:
    edit_index(copied, lambda index: index["shards"][0].update(samples=index["shards"][0]["samples"] + 1))
    with pytest.raises(UserError, match="packs, but its index expects"):
        PackReader(str(copied))[0]


def test_shards_with_other_columns_are_refused(tmp_path: Path) -> None:
    with MDSWriter(out=str(tmp_path / "text"), columns={"text": "str"}, hashes=["xxh3_64"]) as writer:
        writer.write({"text": "a"})
    with pytest.raises(UserError, match="not an index of packs"):
        PackReader(str(tmp_path / "text"))


def test_a_failed_write_leaves_no_index(tmp_path: Path) -> None:
    def write() -> None:
        with PackWriter(tmp_path / "notes", shard_bytes=1500) as writer:
            for number in range(50):
                writer.write(numbered(number))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    with pytest.raises(UserError, match="no such file"):
        PackReader(str(tmp_path / "notes"))


def test_an_empty_source_has_no_packs(tmp_path: Path) -> None:
    with PackWriter(tmp_path / "none"):
        pass
    assert len(PackReader(str(tmp_path / "none"))) == 0


def test_a_shard_that_disappears_while_in_use_is_one_error(copied: Path) -> None:
    reader = PackReader(str(copied))
    reader[0]
    (copied / "shard.00000.mds").unlink()
    with pytest.raises(UserError, match=r"shard\.00000\.mds: this shard is missing"):
        reader[1]


def test_a_shard_needs_little_memory(copied: Path) -> None:
    def grow(index: dict) -> None:
        first = index["shards"][0]
        index["shards"] = [
            first | {"raw_data": first["raw_data"] | {"basename": f"shard.{number:05}.mds"}} for number in range(3000)
        ]

    edit_index(copied, grow)
    reader = PackReader(str(copied))
    size = sum(sum(map(sys.getsizeof, shard)) + sys.getsizeof(shard) for shard in reader.shards)
    assert len(reader.shards) == 3000
    assert size < 400 * 3000


@pytest.fixture
def store(copied: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The copied shards in an object store at s3://bucket; returns the names of the requested files."""
    requests: list[str] = []

    def get(url: str, path: Path, on_progress: Callable[[int], None]) -> None:
        requests.append(url.rsplit("/", 1)[1])
        shutil.copy(copied / requests[-1], path)

    monkeypatch.setitem(remote.STORES, "s3", SimpleNamespace(get=get))
    monkeypatch.setattr(remote, "FIRST_PAUSE_SECONDS", 0)
    return requests


def cached(cache: Path) -> list[Path]:
    return sorted(path for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock")


def test_shards_of_a_store_are_downloaded_once_and_kept_private(store: list[str], tmp_path: Path) -> None:
    for _ in range(2):
        reader = PackReader("s3://bucket/notes", tmp_path / "cache")
        assert [reader[number].doc_ids for number in range(PACKS)] == [numbered(n).doc_ids for n in range(PACKS)]
    names = [shard.name for shard in reader.shards]
    assert sorted(store) == sorted([*names, "index.json", "index.json"])
    assert [path.name for path in cached(tmp_path / "cache")] == names
    assert cached(tmp_path / "cache")[0].parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("corrupt", [flip_a_bit, truncate, Path.unlink])
def test_a_corrupt_shard_in_the_cache_is_downloaded_again(
    store: list[str], tmp_path: Path, corrupt: Callable[[Path], None]
) -> None:
    PackReader("s3://bucket/notes", tmp_path / "cache")[0]
    (shard,) = cached(tmp_path / "cache")
    corrupt(shard)
    assert PackReader("s3://bucket/notes", tmp_path / "cache")[3].doc_ids == ["a3", "b3"]
    assert store.count(shard.name) == 2


def test_a_replaced_data_set_is_never_read_from_the_cache(store: list[str], copied: Path, tmp_path: Path) -> None:
    PackReader("s3://bucket/notes", tmp_path / "cache")[0]
    shutil.rmtree(copied)
    with PackWriter(copied, shard_bytes=1500) as writer:
        for number in range(PACKS):
            writer.write(numbered(number + 1))
    assert PackReader("s3://bucket/notes", tmp_path / "cache")[0].doc_ids == ["a1", "b1"]


def test_a_cache_emptied_while_in_use_is_filled_again(store: list[str], tmp_path: Path) -> None:
    reader = PackReader("s3://bucket/notes", tmp_path / "cache")
    reader[0]
    shutil.rmtree(tmp_path / "cache")
    assert reader[1].doc_ids == ["a1", "b1"]


@pytest.mark.parametrize("corrupt", [flip_a_bit, truncate])
def test_a_corrupt_shard_in_the_store_is_one_error_and_never_cached(
    store: list[str], copied: Path, tmp_path: Path, corrupt: Callable[[Path], None]
) -> None:
    corrupt(copied / "shard.00000.mds")
    with pytest.raises(UserError, match="upload the data again") as caught:
        PackReader("s3://bucket/notes", tmp_path / "cache")[0]
    assert str(caught.value).startswith("s3://bucket/notes/shard.00000.mds: gave up after 3 tries")
    assert cached(tmp_path / "cache") == []


def test_an_index_that_arrives_corrupt_is_requested_again(store: list[str], copied: Path, tmp_path: Path) -> None:
    truncate(copied / "index.json")
    with pytest.raises(UserError, match=r"s3://bucket/notes/index\.json: gave up after 3 tries .*not an index"):
        PackReader("s3://bucket/notes", tmp_path / "cache")
    assert store == ["index.json"] * 3


def test_a_cache_that_cannot_be_written_is_one_error(store: list[str], tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file, not a directory")
    reader = PackReader("s3://bucket/notes", tmp_path / "cache")
    reader.fetch_ahead(0)
    with pytest.raises(UserError, match=rf"^{tmp_path}/cache/.*: cannot keep shards there .*; set data\.cache"):
        reader[0]


def test_readers_in_threads_share_a_cache(store: list[str], tmp_path: Path) -> None:
    readers = [PackReader("s3://bucket/notes", tmp_path / "cache") for _ in range(4)]
    with ThreadPoolExecutor(4) as executor:
        read = executor.map(lambda reader: [reader[number].doc_ids for number in range(PACKS)], readers)
    assert all(ids == [numbered(n).doc_ids for n in range(PACKS)] for ids in read)
    assert Counter(name for name in store if name != "index.json").most_common(1)[0][1] == 1


def test_the_ranks_of_a_node_hash_each_shard_once(
    store: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Downloaded or in the cache, whoever comes first; another attempt checks everything again."""
    hashed: list[int] = []

    def count(content: bytes) -> str:
        hashed.append(len(content))
        return xxhash.xxh3_64(content).hexdigest()

    monkeypatch.setattr(mds, "xxhash", SimpleNamespace(xxh3_64_hexdigest=count))
    monkeypatch.setenv("WORLD_SIZE", "4")
    for port in ("29500", "29501"):
        monkeypatch.setenv("MASTER_PORT", port)
        ranks = [PackReader("s3://bucket/notes", tmp_path / "cache") for _ in range(4)]
        with ThreadPoolExecutor(4) as executor:
            list(executor.map(PackReader.verify, ranks))
        assert len(hashed) == len(ranks[0].shards)
        assert sorted(hashed) == sorted(shard.bytes for shard in ranks[0].shards)
        hashed.clear()


def test_a_shard_fetched_ahead_is_not_requested_again(store: list[str], tmp_path: Path) -> None:
    reader = PackReader("s3://bucket/notes", tmp_path / "cache")
    reader.fetch_ahead(0)
    assert store == ["index.json", "shard.00000.mds"]
    reader.fetch_ahead(0)
    reader[0]
    assert store == ["index.json", "shard.00000.mds"]


def test_fetching_ahead_does_not_wait_for_another_process(store: list[str], tmp_path: Path) -> None:
    reader = PackReader("s3://bucket/notes", tmp_path / "cache")
    reader[0]
    with FileLock(str(cached(tmp_path / "cache")[0].with_name("shard.00001.mds.lock"))):
        reader.fetch_ahead(1)
    assert "shard.00001.mds" not in store


def test_one_rank_of_a_node_hashes_a_cached_shard(
    store: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("MASTER_PORT", "29500")
    PackReader("s3://bucket/notes", tmp_path / "cache").verify()
    hashed: list[int] = []
    digest = mds.xxhash.xxh3_64_hexdigest

    def count(content: bytes) -> str:
        hashed.append(len(content))
        return digest(content)

    monkeypatch.setattr(mds.xxhash, "xxh3_64_hexdigest", count)
    reader = PackReader("s3://bucket/notes", tmp_path / "cache")
    reader.verify()
    assert hashed == []
    monkeypatch.setenv("MASTER_PORT", "29501")  # the next attempt checks again
    PackReader("s3://bucket/notes", tmp_path / "cache").verify()
    assert len(hashed) == len(reader.shards)


def test_a_cache_that_others_can_write_is_refused(store: list[str], tmp_path: Path) -> None:
    PackReader("s3://bucket/notes", tmp_path / "cache")[0]
    (shard,) = cached(tmp_path / "cache")
    shard.parent.chmod(0o777)
    with pytest.raises(UserError, match=r"other users can write there \(mode 0777\)"):
        PackReader("s3://bucket/notes", tmp_path / "cache")
