"""Packing of one split of one source, and writing of its shards by several processes.

`plan_split` decides from the lengths of all segments which pack each belongs to, and from the sizes of the packs where
each is in which shard. `write_part` then writes a few megabytes of a shard, and `finish_split` hashes the shards. The
bytes are those of a single process that writes one pack after the other.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..parallel import Count
from ..shards.layout import (
    describe_shard,
    encode_sample,
    sample_sizes,
    shard_ends,
    shard_header,
    shard_name,
    write_index,
)
from ..shards.manifest import SplitCounts
from ..shards.pack import join_ids
from .packing import plan_packs
from .segment_file import read_index, read_segments

_PART_BYTES = 1 << 24
_CHUNK = 1 << 16


@dataclass(frozen=True)
class SplitJob:
    """The documents of one split of one source.

    Attributes:
        stems: of the finished tasks, in order.
        selected: which documents of each task belong to the split, bool (documents,).
        window: packs are filled from this many segments at a time.
        token_bytes: in which a token is stored.
        directory: of the shards; it is not created if no document is selected.
        plan: the file for the order of the segments.
    """

    stems: list[Path]
    selected: list[npt.NDArray[np.bool_]]
    seq_length: int
    window: int
    token_bytes: int
    directory: Path
    plan: Path


@dataclass(frozen=True)
class Part:
    """Consecutive packs of one shard.

    Attributes:
        shard: its file, which has its header.
        offset: of the packs in the shard, in bytes.
        plan: the task and the number of every segment of the split in the order of the packs, uint32 (2, segments).
        start: the first segment of the packs in the plan.
        segments: of each pack.
        token_bytes: in which a token is stored.
        stems: of the tasks that have segments here, by their number in the plan.
    """

    shard: Path
    offset: int
    plan: Path
    start: int
    segments: list[int]
    token_bytes: int
    stems: dict[int, Path]


@dataclass(frozen=True)
class SplitPlan:
    """A split whose shards are planned.

    Attributes:
        shards: the number of packs of each.
    """

    directory: Path
    counts: SplitCounts
    shards: list[int]
    parts: list[Part]


def plan_split(job: SplitJob, count: Count) -> SplitPlan:
    """Pack the documents in their order, and create the shards with their headers; `count` receives documents."""
    documents = sum(int(selected.sum()) for selected in job.selected)
    if not documents:
        return SplitPlan(job.directory, SplitCounts(tokens=0, packs=0), [], [])
    tasks, numbers, lengths, id_sizes = _selected_segments(job)
    order, ends = _order(lengths, job.seq_length, job.window)
    starts = np.concatenate([[0], ends[:-1]])
    segments = ends - starts
    tokens = np.add.reduceat(lengths[order], starts, dtype=np.int64)
    # A list of ids in JSON has brackets and, between two ids, a comma and a space.
    ids = np.add.reduceat(id_sizes[order], starts, dtype=np.int64) + 2 * segments
    sizes = sample_sizes(tokens, segments, ids, job.token_bytes)
    job.plan.parent.mkdir(parents=True, exist_ok=True)
    np.save(job.plan, np.stack([tasks[order], numbers[order]]), allow_pickle=False)
    job.directory.mkdir(parents=True)
    parts: list[Part] = []
    first = 0
    last_packs = shard_ends(sizes.tolist())
    for number, last in enumerate(last_packs):
        shard = job.directory / shard_name(number)
        header = shard_header(sizes[first:last].tolist())
        shard.write_bytes(header)
        offset = len(header)
        for begin, end in _pieces(sizes, first, last):
            touched = np.unique(tasks[order[starts[begin] : ends[end - 1]]]).tolist()
            stems = {task: job.stems[task] for task in touched}
            in_packs = segments[begin:end].tolist()
            parts.append(Part(shard, offset, job.plan, int(starts[begin]), in_packs, job.token_bytes, stems))
            offset += int(sizes[begin:end].sum())
        first = last
    count(documents)
    counts = SplitCounts(
        documents=documents,
        segments=len(lengths),
        tokens=int(lengths.sum()),
        packs=len(ends),
        fullness=round(int(lengths.sum()) / (len(ends) * job.seq_length), 6),
    )
    return SplitPlan(job.directory, counts, np.diff([0, *last_packs]).tolist(), parts)


def write_part(part: Part, count: Count) -> None:
    """Write the packs of a part at their place in the shard; `count` receives nothing, documents are counted before."""
    plan = np.load(part.plan, mmap_mode="r", allow_pickle=False)
    tasks, numbers = np.array(plan[:, part.start : part.start + sum(part.segments)], np.int64)
    found: list[tuple[bytes, npt.NDArray[np.uint8], bytes]] = [(b"", np.empty(0, np.uint8), b"")] * len(tasks)
    for task, stem in part.stems.items():
        places = np.flatnonzero(tasks == task)
        segments_read = read_segments(stem, read_index(stem), numbers[places], part.token_bytes)
        for place, segment in zip(places.tolist(), segments_read, strict=True):
            found[place] = segment
    with part.shard.open("r+b") as file:
        file.seek(part.offset)
        start = 0
        for segments in part.segments:
            tokens, word_starts, ids = zip(*found[start : start + segments], strict=True)
            columns = {
                "tokens": b"".join(tokens),
                "lengths": np.array([len(one) for one in word_starts], "<i4").tobytes(),
                "word_starts": np.packbits(np.concatenate(word_starts)).tobytes(),
                "doc_ids": join_ids(ids),
            }
            file.write(encode_sample(columns))
            start += segments


def finish_split(plan: SplitPlan, count: Count) -> None:
    """Hash the shards, and write the index."""
    if plan.shards:
        shards = [
            describe_shard(plan.directory / shard_name(number), packs) for number, packs in enumerate(plan.shards)
        ]
        write_index(plan.directory, shards)


def _selected_segments(job: SplitJob) -> tuple[npt.NDArray[np.uint32], ...]:
    """Of every segment of the split: its task, its number in the task, its length, and the bytes of its id."""
    columns: dict[int, list[npt.NDArray[np.uint32]]] = defaultdict(list)
    for task, (stem, selected) in enumerate(zip(job.stems, job.selected, strict=True)):
        if not selected.any():
            continue
        index = read_index(stem)
        owners = index.documents()
        numbers = np.flatnonzero(selected[owners])
        found = (np.full(len(numbers), task), numbers, index.lengths[numbers], index.id_sizes[owners[numbers]])
        for column, values in enumerate(found):
            columns[column].append(values.astype(np.uint32))
    return tuple(np.concatenate(columns[column]) for column in range(4))


def _order(
    lengths: npt.NDArray[np.uint32], seq_length: int, window: int
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
    """The segments in the order of the packs, (segments,), and where each pack ends in it, (packs,)."""
    chunks = (lengths[start : start + _CHUNK].tolist() for start in range(0, len(lengths), _CHUNK))
    order: list[npt.NDArray[np.uint32]] = []
    sizes: list[int] = []
    for members in plan_packs(chain.from_iterable(chunks), seq_length, window):
        order.append(np.array(members, np.uint32))
        sizes.append(len(members))
    return np.concatenate(order), np.cumsum(np.array(sizes, np.int64))


def _pieces(sizes: npt.NDArray[np.int64], first: int, last: int) -> Iterator[tuple[int, int]]:
    """The packs of a shard in runs of about the bytes of a part."""
    ends = np.cumsum(sizes[first:last])
    cuts = np.searchsorted(ends, np.arange(_PART_BYTES, ends[-1] + _PART_BYTES, _PART_BYTES))
    bounds = sorted({0, *np.minimum(cuts + 1, last - first).tolist()})
    yield from ((first + begin, first + end) for begin, end in pairwise(bounds))
