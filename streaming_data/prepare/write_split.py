"""The pieces of one source and split to packs in MDS shards."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..parallel import Count
from ..shards.manifest import SplitCounts
from .chunking import Piece
from .packing import pack
from .tokenize import read_pieces


@dataclass(frozen=True)
class SplitJob:
    """What goes into one split of one source.

    Attributes:
        stems: of the finished tasks, in order.
        chosen: which of the documents of each, bool (documents,).
        directory: of the shards; it is not made if no document is chosen.
    """

    stems: list[Path]
    chosen: list[npt.NDArray[np.bool_]]
    seq_length: int
    window: int
    directory: Path


def write_split(job: SplitJob, count: Count) -> SplitCounts:
    """Packs the documents in their order and writes the shards; counts the documents."""
    from ..shards.mds import PackWriter  # it imports torch, which only the processes that write need

    documents = sum(int(chosen.sum()) for chosen in job.chosen)
    if not documents:
        return SplitCounts(tokens=0, packs=0)
    pieces = packs = tokens = 0
    with PackWriter(job.directory) as writer:
        for full in pack(_pieces(job, count), job.seq_length, job.window):
            writer.write(full)
            packs += 1
            pieces += len(full.lengths)
            tokens += len(full.tokens)
    fullness = round(tokens / (packs * job.seq_length), 6)
    return SplitCounts(documents=documents, segments=pieces, tokens=tokens, packs=packs, fullness=fullness)


def _pieces(job: SplitJob, count: Count) -> Iterator[Piece]:
    for stem, chosen in zip(job.stems, job.chosen, strict=True):
        for pieces in read_pieces(stem, chosen):
            count(1)
            yield from pieces
