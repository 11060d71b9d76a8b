"""Segments on disk are plain arrays: they come back as they were, and nothing else is believed."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.streaming_data.prepare.chunking import Segment
from clinical_modernbert.streaming_data.prepare.segment_file import read_batches, write_batch

IDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SEGMENT_LISTS = st.lists(st.lists(st.integers(1, 65535), min_size=1, max_size=6), max_size=4)
BATCHES = st.lists(st.lists(st.tuples(IDS, SEGMENT_LISTS), min_size=1, max_size=5), max_size=4)


def _segments(document_id: str, lists: list[list[int]]) -> list[Segment]:
    return [Segment(document_id, np.array(ids, np.uint16), np.array(ids) % 2 == 0) for ids in lists]


def _plain(batches: list[list[list[Segment]]]) -> list:
    return [[[(s.document_id, s.tokens.tolist(), s.word_starts.tolist()) for s in d] for d in b] for b in batches]


@given(BATCHES)
def test_batches_come_back(tmp_path_factory: pytest.TempPathFactory, batches: list) -> None:
    path = tmp_path_factory.getbasetemp() / "x.segments"
    written = [[_segments(*document) for document in batch] for batch in batches]
    with path.open("wb") as file:
        for batch, documents in zip(batches, written, strict=True):
            write_batch(file, [document_id for document_id, _ in batch], documents)
    read = list(read_batches(path, sum(map(len, batches))))
    assert _plain(read) == _plain(written)
    for segment in (segment for batch in read for document in batch for segment in document):
        assert segment.tokens.dtype == np.uint16
        assert segment.word_starts.dtype == np.bool_


class Bomb:
    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("exploded"),))


@pytest.mark.parametrize("content", [pickle.dumps([[Bomb()]]), b"", b"\x93NUMPY", b"\x93NUMPY\x01\x00\x05\x00{'a':"])
def test_other_content_is_refused_and_runs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x.segments"
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"x\.segments: not the segments .* remove .*x\.done"):
        list(read_batches(path, 1))
    with path.open("wb") as file:
        np.save(file, np.array([Bomb()], object), allow_pickle=True)
    with pytest.raises(UserError):
        list(read_batches(path, 1))
    assert not (tmp_path / "exploded").exists()


@given(st.data())
def test_a_damaged_file_is_refused_or_gives_arrays_that_fit(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "y.segments"
    with path.open("wb") as file:
        write_batch(file, ["a", "b"], [_segments("a", [[1, 2], [3]]), _segments("b", [[4]])])
    content = bytearray(path.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content[: data.draw(st.sampled_from([len(content), position]))])
    try:
        batches = list(read_batches(path, 2))
    except UserError:
        return
    assert all(len(s.tokens) == len(s.word_starts) for batch in batches for d in batch for s in d)
