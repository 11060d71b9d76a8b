"""Packing of one split of one source: its segments become packs in MDS shards."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..parallel import Count
from ..shards.manifest import SplitCounts
from .chunking import Segment
from .packing import pack
from .tokenize import read_segments


@dataclass(frozen=True)
class SplitJob:
    """The documents of one split of one source.

    Attributes:
        stems: of the finished tasks, in order.
        selected: which documents of each task belong to the split, bool (documents,).
        window: packs are filled from this many segments at a time.
        directory: of the shards; it is not created if no document is selected.
    """

    stems: list[Path]
    selected: list[npt.NDArray[np.bool_]]
    seq_length: int
    window: int
    directory: Path


def write_split(job: SplitJob, count: Count) -> SplitCounts:
    """Pack the documents in their order and write the shards; `count` receives the number of documents."""
    from ..shards.mds import PackWriter  # imports torch, which only the processes that write need

    documents = sum(int(selected.sum()) for selected in job.selected)
    if not documents:
        return SplitCounts(tokens=0, packs=0)
    segments = packs = tokens = 0
    with PackWriter(job.directory) as writer:
        for full in pack(_segments(job, count), job.seq_length, job.window):
            writer.write(full)
            packs += 1
            segments += len(full.lengths)
            tokens += len(full.tokens)
    fullness = round(tokens / (packs * job.seq_length), 6)
    return SplitCounts(documents=documents, segments=segments, tokens=tokens, packs=packs, fullness=fullness)


def _segments(job: SplitJob, count: Count) -> Iterator[Segment]:
    for stem, selected in zip(job.stems, job.selected, strict=True):
        for segments in read_segments(stem, selected):
            count(1)
            yield from segments
