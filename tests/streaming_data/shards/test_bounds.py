"""Shards and indexes written by somebody else: numbers in them are believed only within the files."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import xxhash

from clinical_modernbert.configs import limits
from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.streaming_data.shards.mds import PackReader

SHARD = "shard.00000.mds"


@pytest.fixture
def copy(tmp_path: Path, small_data: Path) -> Path:
    shutil.copytree(small_data / "notes/train", tmp_path / "train")
    return tmp_path / "train"


def reseal(directory: Path, content: bytes | bytearray) -> None:
    """Write a shard, and the index that belongs to it."""
    (directory / SHARD).write_bytes(content)
    index = json.loads((directory / "index.json").read_text())
    entry = index["shards"][0]
    entry["raw_data"] |= {"bytes": len(content), "hashes": {"xxh3_64": xxhash.xxh3_64_hexdigest(content)}}
    entry["samples"] = int.from_bytes(content[:4], "little")
    (directory / "index.json").write_text(json.dumps(index))


@pytest.mark.parametrize("offset", [0, 3, 0x7FFFFFFF, 0xFFFFFFFF])
@pytest.mark.parametrize("position", [1, 2, -1])
def test_offsets_follow_one_another_inside_the_shard(copy: Path, position: int, offset: int) -> None:
    content = bytearray((copy / SHARD).read_bytes())
    packs = int.from_bytes(content[:4], "little")
    at = 4 * (position if position > 0 else packs + 1)
    content[at : at + 4] = offset.to_bytes(4, "little")
    reseal(copy, bytes(content))
    with pytest.raises(UserError, match=f"{SHARD}: this shard's header has offsets outside it or out of order"):
        PackReader(str(copy))[0]


def test_a_damaged_pack_is_named(copy: Path) -> None:
    content = bytearray((copy / SHARD).read_bytes())
    start = int.from_bytes(content[4:8], "little")
    content[start : start + 4] = b"\xff\xff\xff\x7f"  # the size of its first column
    reseal(copy, bytes(content))
    with pytest.raises(UserError, match=f"{SHARD}: pack 0 is damaged"):
        PackReader(str(copy))[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"samples": 1 << 60}, "packs cannot be in"),
        ({"samples": -1}, "packs cannot be in"),
        ({"samples": 1e999}, "inf packs cannot be in"),
        (
            {"raw_data": {"basename": SHARD, "bytes": 1 << 40, "hashes": {"xxh3_64": "0" * 16}}},
            "a shard of at most 268,435,456",
        ),
        ({"raw_data": {"basename": SHARD, "bytes": -1, "hashes": {"xxh3_64": "0" * 16}}}, "a shard of at most"),
        ({"raw_data": []}, "TypeError"),
    ],
)
def test_numbers_of_an_index_are_possible(copy: Path, change: dict[str, Any], message: str) -> None:
    index = json.loads((copy / "index.json").read_text())
    index["shards"][0] |= change
    (copy / "index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match=message):
        PackReader(str(copy))


@pytest.mark.parametrize("content", [b"[" * 200_000, b"null", b"[]", b"{}", b" " * (limits.INDEX_BYTES + 1)])
def test_an_index_of_another_kind_is_refused(copy: Path, content: bytes) -> None:
    (copy / "index.json").write_bytes(content)
    with pytest.raises(UserError, match=r"index\.json: not an index of packs"):
        PackReader(str(copy))
