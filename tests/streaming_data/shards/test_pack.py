"""A pack is unchanged by writing it as an MDS sample and reading it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinical_modernbert.streaming_data.shards.pack import MDS_COLUMNS, Pack, from_mds, to_mds


@given(st.lists(st.integers(0, 70), max_size=8), st.integers(0, 2**32 - 1), st.sampled_from([np.uint16, np.uint32]))
@settings(max_examples=80, deadline=None)
def test_a_sample_contains_the_pack_that_was_written(lengths: list[int], seed: int, width: type[np.unsignedinteger]) -> None:
    rng = np.random.default_rng(seed)
    n = sum(lengths)
    pack = Pack(
        tokens=rng.integers(0, 1 << 8 * np.dtype(width).itemsize, n).astype(width),
        lengths=np.array(lengths, np.int32),
        word_starts=rng.random(n) < 0.5,
        doc_ids=[f"notes:é{segment}\n\u2028" for segment in range(len(lengths))],
    )
    sample = to_mds(pack)
    assert set(sample) == set(MDS_COLUMNS)
    again = from_mds(sample)
    for name in ("tokens", "lengths", "word_starts"):
        np.testing.assert_array_equal(getattr(again, name), getattr(pack, name))
        assert n == 0 or getattr(again, name).dtype == getattr(pack, name).dtype
    assert again.doc_ids == pack.doc_ids


@pytest.mark.parametrize(
    ("lengths", "starts", "ids"), [([3], 4, ["a"]), ([2, 2], 3, ["a", "b"]), ([4], 4, ["a", "b"]), ([5], 4, ["a"])]
)
def test_inconsistent_lengths_are_refused(lengths: list[int], starts: int, ids: list[str]) -> None:
    with pytest.raises(ValueError, match="a pack of 4 tokens"):
        Pack(np.zeros(4, np.uint16), np.array(lengths, np.int32), np.zeros(starts, bool), ids)


def test_the_bytes_of_16_bits_are_those_of_before_and_other_widths_are_damage() -> None:
    pack = Pack(np.array([1, 258, 65_535], np.uint16), np.array([1, 2], np.int32), np.array([0, 1, 1], bool), ["a", "b"])
    sample = to_mds(pack)
    assert sample["tokens"] == b"\x01\x00\x02\x01\xff\xff"
    wide = np.array([1, 258, 200_000], ">u4")
    assert to_mds(Pack(wide, pack.lengths, pack.word_starts, pack.doc_ids))["tokens"] == wide.astype("<u4").tobytes()
    for tokens in (b"", sample["tokens"][:-1], sample["tokens"] * 3, sample["tokens"] + b"\0\0\0"):
        with pytest.raises(ValueError, match="bytes for 3 tokens; expected 2 or 4 for each"):
            from_mds(sample | {"tokens": tokens})
    with pytest.raises(ValueError, match="tokens are uint16 or uint32, got int64"):
        to_mds(Pack(np.array([1, 2, 3]), pack.lengths, pack.word_starts, pack.doc_ids))
