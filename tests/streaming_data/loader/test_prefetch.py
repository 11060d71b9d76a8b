"""What ranks that share a cache download, with as much room as the lanes of a run need."""

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from small_data import SEQ_LENGTH, write_small_data

from clinical_modernbert.storage import remote
from clinical_modernbert.streaming_data.loader.batches import StepData, load
from clinical_modernbert.streaming_data.loader.config import DataConfig
from clinical_modernbert.streaming_data.loader.dataset import PackDataset, open_dataset
from clinical_modernbert.streaming_data.loader.prefetch import ShardsAhead

BATCH, PACKS = 8, 320


@pytest.fixture
def bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A data set of 400 packs at s3://bucket/packs; returns the shards that are requested."""
    write_small_data(tmp_path / "packs", PACKS)
    requests: list[str] = []

    def get(url: str, path: Path, on_progress: Callable[[int], None]) -> None:
        source = tmp_path / url.removeprefix("s3://bucket/")
        if source.suffix == ".mds":
            requests.append(str(source.relative_to(tmp_path)))
        shutil.copy(source, path)

    monkeypatch.setitem(remote.STORES, "s3", SimpleNamespace(get=get))
    return requests


def opened(cache: Path, **changes: object) -> PackDataset:
    config = DataConfig(path="s3://bucket/packs", seq_length=SEQ_LENGTH, cache=cache, **changes)
    return open_dataset(config, 3, packs_per_step=BATCH)


def epoch() -> list[StepData]:
    return [StepData(start, BATCH, SEQ_LENGTH, 0.3) for start in range(0, 400, BATCH)]


@pytest.mark.slow
def test_a_node_downloads_each_shard_of_its_packs_once_although_its_cache_is_small(
    bucket: list[str], tmp_path: Path
) -> None:
    shards = [shard.bytes for reader in opened(tmp_path / "first").readers for shard in reader.shards]
    room = 0.8 * sum(shards)
    dataset = opened(tmp_path / "cache", lanes=BATCH, cache_gigabytes=room / 1e9)
    read = [address for batches in load(dataset, epoch(), 4) for batch in batches for address in batch.addresses]
    assert max(Counter(read).values()) == 1
    assert len(read) == 400
    assert sum(file.stat().st_size for file in (tmp_path / "cache").rglob("*.mds")) <= room
    assert len(set(bucket)) == len(shards)
    assert len(bucket) <= 1.1 * len(shards), Counter(bucket).most_common(3)


def test_nodes_download_the_shards_of_their_lanes(bucket: list[str], tmp_path: Path) -> None:
    for node in range(4):
        dataset = opened(tmp_path / f"cache{node}", lanes=BATCH)
        for _ in load(dataset, epoch(), 2, node, 4):
            pass
    shards = sum(len(reader.shards) for reader in opened(tmp_path / "cache").readers)
    assert shards <= len(bucket) <= 2 * shards  # in windows, 4 x
    bucket.clear()


def test_coming_shards_are_there_before_their_step(bucket: list[str], tmp_path: Path) -> None:
    dataset = opened(tmp_path / "cache", lanes=BATCH)
    ahead = ShardsAhead(dataset, 1, 2, steps_back=2)
    steps = epoch()
    for step in steps[: ahead.steps_ahead]:
        ahead(step.start, step.packs)
    before = len(bucket)
    assert before
    for step in steps[: ahead.steps_ahead]:
        for address in dataset.order.share(step.start, step.start + step.packs, 1, 2):
            dataset.read(address)
    assert len(bucket) == before
