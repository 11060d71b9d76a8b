"""Segments on disk are plain arrays: they come back as they were, are small, and nothing else is believed."""

import io
import pickle
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clinical_modernbert.configs.errors import UserError
from clinical_modernbert.streaming_data.prepare.chunking import Segment
from clinical_modernbert.streaming_data.prepare.done_markers import mark_done
from clinical_modernbert.streaming_data.prepare.segment_file import (
    SegmentIndex,
    SegmentWriter,
    read_index,
    read_segments,
    record_sizes,
)
from clinical_modernbert.streaming_data.shards.pack import encode_id

IDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SEGMENT_LISTS = st.lists(st.lists(st.integers(1, (1 << 24) - 1), min_size=1, max_size=20), max_size=4)
BATCHES = st.lists(st.lists(st.tuples(IDS, SEGMENT_LISTS), min_size=1, max_size=5), max_size=4)


def _segments(document_id: str, lists: list[list[int]], width: int = 2) -> list[Segment]:
    return [Segment(document_id, np.array(ids).astype(f"u{width}"), np.array(ids) % 2 == 0) for ids in lists]


def _write(stem: Path, batches: list[list[list[Segment]]], ids: list[list[str]]) -> None:
    with stem.with_suffix(".segments").open("wb") as file:
        writer = SegmentWriter(file)
        for names, documents in zip(ids, batches, strict=True):
            writer.write(names, documents)
    mark_done(stem, writer.index())


def _read(stem: Path, numbers: np.ndarray, width: int = 2) -> list[tuple[list[int], list[int], bytes]]:
    return [
        (np.frombuffer(tokens, f"<u{width}").tolist(), word_starts.tolist(), document_id)
        for tokens, word_starts, document_id in read_segments(stem, read_index(stem), numbers, width)
    ]


@given(BATCHES, st.randoms(use_true_random=False), st.sampled_from([2, 4]))
def test_any_segments_come_back_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, batches: list, shuffled: "object", width: int
) -> None:
    stem = tmp_path_factory.getbasetemp() / "x"
    documents = [[_segments(*document, width) for document in batch] for batch in batches]
    _write(stem, documents, [[name for name, _ in batch] for batch in batches])
    flat = [segment for batch in documents for document in batch for segment in document]
    index = read_index(stem)
    assert index.counts.tolist() == [len(document) for batch in documents for document in batch]
    assert index.lengths.tolist() == [len(segment.tokens) for segment in flat]
    numbers = list(range(len(flat)))
    shuffled.shuffle(numbers)  # type: ignore[attr-defined]
    assert _read(stem, np.array(numbers, np.int64), width) == [
        (flat[n].tokens.tolist(), flat[n].word_starts.tolist(), encode_id(flat[n].document_id)) for n in numbers
    ]


class Bomb:
    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("exploded"),))


@pytest.mark.parametrize("name", [*SegmentIndex._fields, "pickle", "none"])
def test_another_index_is_refused_and_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    _write(tmp_path / "x", [[_segments("a", [[1, 2]])]], [["a"]])
    marker = tmp_path / "x.done"
    if name == "pickle":
        marker.write_bytes(pickle.dumps(Bomb()))
    elif name == "none":
        marker.unlink()
    else:
        with np.load(marker) as arrays:
            columns = dict(arrays)
        mark_done(tmp_path / "x", columns | {name: np.append(columns[name], columns[name].dtype.type(1))})
    with pytest.raises(UserError, match=r"x\.segments: no index of segments .* remove .*x\.done"):
        read_index(tmp_path / "x")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("size", [0, 4, 6])
def test_a_file_of_another_size_is_refused(tmp_path: Path, size: int) -> None:
    _write(tmp_path / "x", [[_segments("a", [[1, 2]])]], [["a"]])
    (tmp_path / "x.segments").write_bytes(bytes(size))
    with pytest.raises(UserError, match=r"x\.segments: not as many segments as its index says"):
        _read(tmp_path / "x", np.array([0]))


def _abstracts() -> list[list[Segment]]:
    """With the lengths of PubMed's abstracts and its ids."""
    rng = np.random.default_rng(0)
    lengths = rng.lognormal(np.log(280) - 0.15, 0.55, 3_000).astype(int).clip(8, 2_500)
    return [
        _segments(str(30_000_000 + n), [rng.integers(1, 50_000, length).tolist()]) for n, length in enumerate(lengths)
    ]


@pytest.mark.slow
def test_segments_are_small_and_faster_than_pickles(tmp_path: Path) -> None:
    """At most 2.2 bytes per token, where bool arrays took 3.1; the best of several rounds of each, alternating."""
    documents = _abstracts()
    tokens = sum(len(segment.tokens) for document in documents for segment in document)
    ids = [document[0].document_id for document in documents]
    _write(tmp_path / "x", [documents], [ids])
    size = sum((tmp_path / name).stat().st_size for name in ("x.segments", "x.done"))
    assert record_sizes(read_index(tmp_path / "x").lengths, 2).sum() / tokens < 2.13
    assert size / tokens <= 2.2
    numbers = np.arange(len(documents))
    times: dict[str, list[float]] = {name: [] for name in ("write", "dump", "read", "load")}
    pickled = pickle.dumps(documents)

    def write() -> None:
        SegmentWriter(io.BytesIO()).write(ids, documents)

    for _ in range(7):
        for name, work in (
            ("write", write),
            ("dump", lambda: pickle.dump(documents, io.BytesIO())),
            ("read", lambda: list(read_segments(tmp_path / "x", read_index(tmp_path / "x"), numbers, 2))),
            ("load", lambda: pickle.loads(pickled)),
        ):
            begin = time.process_time()
            work()
            times[name].append(time.process_time() - begin)
    assert min(times["write"]) < min(times["dump"])
    assert min(times["read"]) < min(times["load"])
