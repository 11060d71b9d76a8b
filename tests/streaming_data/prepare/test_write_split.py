"""Several processes write parts of a shard: the bytes of one process that writes a pack after the other."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clinical_modernbert.streaming_data.parallel import parallel_map
from clinical_modernbert.streaming_data.prepare import write_split
from clinical_modernbert.streaming_data.prepare.chunking import Segment
from clinical_modernbert.streaming_data.prepare.done_markers import mark_done
from clinical_modernbert.streaming_data.prepare.packing import plan_packs
from clinical_modernbert.streaming_data.prepare.segment_file import SegmentWriter
from clinical_modernbert.streaming_data.prepare.write_split import SplitJob, finish_split, plan_split, write_part
from clinical_modernbert.streaming_data.shards import layout
from clinical_modernbert.streaming_data.shards.mds import PackReader, PackWriter
from clinical_modernbert.streaming_data.shards.pack import Pack

SEQ_LENGTH = 128


def _nothing(done: int, total: int, counted: int) -> None:
    pass


def _tasks(
    folder: Path, rng: np.random.Generator, sizes: list[int], width: int = 2
) -> tuple[list[Path], list[list[list[Segment]]]]:
    """Finished tasks with so many documents, of up to three segments or none."""
    stems, tasks = [], []
    for task, size in enumerate(sizes):
        documents = [
            [
                Segment(f"é{task}-{number}", tokens := rng.integers(0, 1 << 18, n).astype(f"u{width}"), tokens % 3 == 0)
                for n in rng.integers(2, SEQ_LENGTH + 1, rng.integers(0, 4))
            ]
            for number in range(size)
        ]
        stem = folder / f"task{task}"
        with stem.with_suffix(".segments").open("wb") as file:
            writer = SegmentWriter(file)
            writer.write([f"é{task}-{number}" for number in range(size)], documents)
        mark_done(stem, writer.index())
        stems.append(stem)
        tasks.append(documents)
    return stems, tasks


def _one_by_one(segments: list[Segment], window: int, directory: Path) -> None:
    with PackWriter(directory, layout.SHARD_BYTES) as writer:
        for members in plan_packs((len(segment.tokens) for segment in segments), SEQ_LENGTH, window):
            chosen = [segments[number] for number in members]
            writer.write(
                Pack(
                    np.concatenate([one.tokens for one in chosen]),
                    np.array([len(one.tokens) for one in chosen], np.int32),
                    np.concatenate([one.word_starts for one in chosen]),
                    [one.document_id for one in chosen],
                )
            )


def _write(job: SplitJob, workers: int) -> Any:
    plan = plan_split(job, lambda count: None)
    parallel_map(write_part, plan.parts, workers, _nothing)
    finish_split(plan, lambda count: None)
    return plan


@pytest.mark.parametrize("share", [0.03, 0.5, 1.0])
@pytest.mark.parametrize("part_bytes", [1, 3_000, 1 << 24])
@pytest.mark.parametrize("shard_bytes", [4_000, 1 << 26])
def test_parts_of_shards_are_those_of_one_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: float, part_bytes: int, shard_bytes: int
) -> None:
    monkeypatch.setattr(write_split, "_PART_BYTES", part_bytes)
    for function in (layout.shard_ends, layout.shard_header, layout.write_index):
        monkeypatch.setattr(function, "__defaults__", (shard_bytes,))
    monkeypatch.setattr(layout, "SHARD_BYTES", shard_bytes)
    rng, width = np.random.default_rng(part_bytes), 4 if part_bytes == 3_000 else 2
    stems, tasks = _tasks(tmp_path, rng, [40, 0, 1, 90, 13], width)
    selected = [rng.random(len(documents)) < share for documents in tasks]
    selected[0][0] = True
    job = SplitJob(stems, selected, SEQ_LENGTH, 16, width, tmp_path / "ours", tmp_path / "plans" / "plan.npy")
    plan = _write(job, 1)
    segments = [
        segment
        for documents, chosen in zip(tasks, selected, strict=True)
        for document, keep in zip(documents, chosen, strict=True)
        if keep
        for segment in document
    ]
    _one_by_one(segments, 16, tmp_path / "theirs")
    written = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("ours", "theirs")]
    assert written[0] == written[1]
    packs = PackReader(str(tmp_path / "ours"))
    assert plan.counts.packs == len(packs) == sum(plan.shards)
    assert plan.counts.tokens == sum(len(segment.tokens) for segment in segments)
    assert plan.counts.documents == sum(int(one.sum()) for one in selected)
    if part_bytes == 1:
        assert len(plan.parts) == len(packs)


@pytest.mark.slow
def test_two_processes_write_one_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write_split, "_PART_BYTES", 5_000)
    stems, tasks = _tasks(tmp_path, np.random.default_rng(1), [60, 60])
    selected = [np.ones(len(documents), np.bool_) for documents in tasks]
    for workers in (1, 2):
        job = SplitJob(stems, selected, SEQ_LENGTH, 16, 2, tmp_path / str(workers), tmp_path / f"{workers}.npy")
        assert len(_write(job, workers).parts) > 3
    first, second = ((tmp_path / str(workers) / "shard.00000.mds").read_bytes() for workers in (1, 2))
    assert first == second
    assert json.loads((tmp_path / "1" / "index.json").read_text())["shards"][0]["raw_data"]["bytes"] == len(first)


def test_a_split_without_documents_has_no_directory(tmp_path: Path) -> None:
    stems, tasks = _tasks(tmp_path, np.random.default_rng(1), [5])
    none = [np.zeros(len(documents), np.bool_) for documents in tasks]
    plan = _write(SplitJob(stems, none, SEQ_LENGTH, 16, 2, tmp_path / "none", tmp_path / "plan.npy"), 1)
    assert (plan.counts.packs, plan.parts) == (0, [])
    assert not (tmp_path / "none").exists()
