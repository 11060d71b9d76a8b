"""Our writer's shards and index are those of MosaicML's writer, byte for byte."""

from pathlib import Path

import numpy as np
import pytest

from clinical_modernbert.storage.mosaic import MDSWriter
from clinical_modernbert.streaming_data.shards.layout import HASH, encode_sample, sample_sizes
from clinical_modernbert.streaming_data.shards.mds import PackWriter
from clinical_modernbert.streaming_data.shards.pack import MDS_COLUMNS, Pack, to_mds


def packs(count: int, width: int = 2) -> list[Pack]:
    rng = np.random.default_rng(count)
    made = []
    for number in range(count):
        lengths = rng.integers(1, 60, rng.integers(1, 6)).astype(np.int32)
        tokens = rng.integers(0, 1 << 18, lengths.sum()).astype(f"u{width}")
        made.append(Pack(tokens, lengths, tokens % 3 == 0, [f'é"{number}\n{part}' for part in range(len(lengths))]))
    return made


@pytest.mark.parametrize("shard_bytes", [1_000, 2_500, 1 << 26])
@pytest.mark.parametrize("count", [0, 1, 2, 57, 300])
def test_the_bytes_are_those_of_the_library(tmp_path: Path, count: int, shard_bytes: int) -> None:
    with MDSWriter(out=str(tmp_path / "theirs"), columns=MDS_COLUMNS, hashes=[HASH], size_limit=shard_bytes) as theirs:
        for pack in packs(count):
            theirs.write(to_mds(pack))
    with PackWriter(tmp_path / "ours", shard_bytes) as ours:
        for pack in packs(count):
            ours.write(pack)
    written = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("theirs", "ours")]
    assert written[0] == written[1]
    assert len(written[0]) >= 2 or not count


@pytest.mark.parametrize("width", [2, 4])
def test_sizes_are_known_from_lengths(width: int) -> None:
    made = packs(50, width)
    tokens, segments = (
        np.array([len(column) for column in columns])
        for columns in zip(*((p.tokens, p.lengths) for p in made), strict=True)
    )
    ids = np.array([len(to_mds(pack)["doc_ids"]) for pack in made])
    sizes = [len(encode_sample(to_mds(pack))) for pack in made]
    assert sample_sizes(tokens, segments, ids, width).tolist() == sizes
