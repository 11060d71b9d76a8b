"""The bytes of MosaicML's MDS shards of packs.

The size of every sample is known from the lengths of its segments, so the place of each pack is known before any is
written, and several processes can write parts of one shard. The result is that of MosaicML's own writer, which imports
torch (`tests/streaming_data/shards/test_layout.py` compares them).
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ...storage.files import hash_file
from .pack import MDS_COLUMNS

INDEX = "index.json"
HASH = "xxh3_64"
SHARD_BYTES = 1 << 24
"""A node has one shard in use per lane of the order, so small shards allow more lanes (`loader/lanes.py`)."""
COLUMNS = sorted(MDS_COLUMNS)  # the order within an MDS sample
_PER_SAMPLE = 4  # bytes of a shard's header
_VERSION = 2


def encode_sample(columns: Mapping[str, bytes]) -> bytes:
    """An MDS sample: the sizes of its columns, then the columns."""
    sizes = np.array([len(columns[name]) for name in COLUMNS], "<u4")
    return b"".join([sizes.tobytes(), *(columns[name] for name in COLUMNS)])


def sample_sizes(
    tokens: npt.NDArray[np.int64], segments: npt.NDArray[np.int64], ids: npt.NDArray[np.int64], token_bytes: int
) -> npt.NDArray[np.int64]:
    """The bytes of the samples of packs with so many tokens, segments, and bytes of ids: int64 (packs,) each."""
    return 4 * len(COLUMNS) + token_bytes * tokens + (tokens + 7) // 8 + 4 * segments + ids


def shard_ends(sizes: Sequence[int], shard_bytes: int = SHARD_BYTES) -> list[int]:
    """For each shard the number of the sample after its last one. A sample that is larger than a shard is alone."""
    empty = 8 + len(_config_bytes(shard_bytes))
    ends: list[int] = []
    used, first = empty, 0
    for number, size in enumerate(sizes):
        if used + size + _PER_SAMPLE > shard_bytes and number > first:
            ends.append(number)
            used, first = empty, number
        used += size + _PER_SAMPLE
    return [*ends, len(sizes)] if len(sizes) else []


def shard_header(sizes: Sequence[int], shard_bytes: int = SHARD_BYTES) -> bytes:
    """What precedes the samples of a shard: their number, their offsets, and how they are encoded."""
    config = _config_bytes(shard_bytes)
    offsets = np.cumsum([4 + 4 * (len(sizes) + 1) + len(config), *sizes])
    return np.uint32(len(sizes)).tobytes() + offsets.astype("<u4").tobytes() + config


class ShardFile(NamedTuple):
    """A complete shard for the index."""

    name: str
    bytes: int
    hash: str
    samples: int


def shard_name(number: int) -> str:
    return f"shard.{number:05}.mds"


def describe_shard(path: Path, samples: int) -> ShardFile:
    return ShardFile(path.name, path.stat().st_size, hash_file(path, HASH), samples)


def write_index(directory: Path, shards: Sequence[ShardFile], shard_bytes: int = SHARD_BYTES) -> None:
    """Write the index, without which the shards are no data set."""
    entries = [
        {
            "samples": shard.samples,
            "raw_data": {"basename": shard.name, "bytes": shard.bytes, "hashes": {HASH: shard.hash}},
            "zip_data": None,
            **_config(shard_bytes),
        }
        for shard in shards
    ]
    text = json.dumps({"version": _VERSION, "shards": entries}, sort_keys=True)
    (directory / INDEX).write_text(text, encoding="utf-8")


def _config(shard_bytes: int) -> dict[str, Any]:
    return {
        "version": _VERSION,
        "format": "mds",
        "compression": None,
        "hashes": [HASH],
        "size_limit": shard_bytes,
        "column_names": COLUMNS,
        "column_encodings": [MDS_COLUMNS[name] for name in COLUMNS],
        "column_sizes": [None for _ in COLUMNS],
    }


def _config_bytes(shard_bytes: int) -> bytes:
    return json.dumps(_config(shard_bytes), sort_keys=True).encode()
