"""A pack is unchanged by writing it as an MDS sample and reading it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clinical_modernbert.streaming_data.shards.pack import MDS_COLUMNS, Pack, from_mds, to_mds


@given(st.lists(st.integers(0, 70), max_size=8), st.integers(0, 2**32 - 1))
@settings(max_examples=80, deadline=None)
def test_a_sample_contains_the_pack_that_was_written(lengths: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = sum(lengths)
    pack = Pack(
        tokens=rng.integers(0, 1 << 16, n).astype(np.uint16),
        lengths=np.array(lengths, np.int32),
        word_starts=rng.random(n) < 0.5,
        doc_ids=[f"notes:é{segment}\n\u2028" for segment in range(len(lengths))],
    )
    sample = to_mds(pack)
    assert set(sample) == set(MDS_COLUMNS)
    again = from_mds(sample)
    for name in ("tokens", "lengths", "word_starts"):
        np.testing.assert_array_equal(getattr(again, name), getattr(pack, name))
        assert getattr(again, name).dtype == getattr(pack, name).dtype
    assert again.doc_ids == pack.doc_ids


@pytest.mark.parametrize(
    ("lengths", "starts", "ids"), [([3], 4, ["a"]), ([2, 2], 3, ["a", "b"]), ([4], 4, ["a", "b"]), ([5], 4, ["a"])]
)
def test_inconsistent_lengths_are_refused(lengths: list[int], starts: int, ids: list[str]) -> None:
    with pytest.raises(ValueError, match="a pack of 4 tokens"):
        Pack(np.zeros(4, np.uint16), np.array(lengths, np.int32), np.zeros(starts, bool), ids)
