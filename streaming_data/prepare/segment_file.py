"""The segments of a task's documents on disk: one record after the other, in plain arrays; nothing is unpickled.

A record is a segment's tokens (2 or 4 bytes each by the tokenizer's size, little-endian), then its word starts as bits.
The length of a segment determines the size of its record, so the lengths, which are in the task's done marker, tell
where each record begins: packing reads lengths alone, and writing a pack reads its own records.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt
import xxhash

from ...configs.errors import UserError
from ..shards.pack import encode_id, stored
from .chunking import Segment
from .done_markers import read_result

Numbers = npt.NDArray[np.unsignedinteger[Any]]


class SegmentIndex(NamedTuple):
    """What a task's done marker says of its segments.

    Attributes:
        counts: the number of segments of each document, (documents,).
        lengths: of the segments in tokens, (segments,).
        id_sizes: of the documents' ids in bytes, as `ids` has them, (documents,).
        ids: the ids as JSON texts, one after the other, uint8.
    """

    counts: Numbers
    lengths: Numbers
    id_sizes: Numbers
    ids: npt.NDArray[np.uint8]

    def documents(self) -> npt.NDArray[np.int64]:
        """The document of each segment, (segments,)."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    def offsets(self, token_bytes: int) -> npt.NDArray[np.int64]:
        """Where each record begins, and the size of the file, (segments + 1,)."""
        return np.concatenate([[0], np.cumsum(record_sizes(self.lengths, token_bytes))])


class SegmentWriter:
    """Appends documents to a file, and remembers what its index needs."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = xxhash.xxh3_64()
        self._counts: list[int] = []
        self._lengths: list[int] = []
        self._ids: list[bytes] = []

    def write(self, ids: Sequence[str], documents: Sequence[Sequence[Segment]]) -> None:
        """Append each document's segments."""
        segments = [segment for document in documents for segment in document]
        records = b"".join(
            part
            for segment in segments
            for part in (stored(segment.tokens), np.packbits(segment.word_starts).tobytes())
        )
        self._file.write(records)
        self._hash.update(records)
        self._counts += [len(document) for document in documents]
        self._lengths += [len(segment.tokens) for segment in segments]
        self._ids += map(encode_id, ids)

    @property
    def hash(self) -> str:
        """Of all records."""
        return self._hash.hexdigest()

    def index(self) -> dict[str, npt.NDArray[Any]]:
        """The columns of the `SegmentIndex`, by name, in as few bytes as they need."""
        sizes = [len(one) for one in self._ids]
        columns = {"counts": self._counts, "lengths": self._lengths, "id_sizes": sizes}
        return {
            **{name: np.array(column, np.min_scalar_type(max(column, default=0))) for name, column in columns.items()},
            "ids": np.frombuffer(b"".join(self._ids), np.uint8),
        }


def record_sizes(lengths: Numbers, token_bytes: int) -> npt.NDArray[np.int64]:
    """The bytes of the records of segments with these lengths, int64 (segments,)."""
    tokens: npt.NDArray[np.int64] = lengths.astype(np.int64)
    return token_bytes * tokens + (tokens + 7) // 8


def parse_index(columns: Mapping[str, npt.NDArray[Any]]) -> SegmentIndex:
    """The index in a done marker. Raises KeyError or ValueError if the columns are missing or do not fit each other."""
    index = SegmentIndex(*(columns[name] for name in SegmentIndex._fields))
    fits = (
        all(column.dtype.kind == "u" and column.ndim == 1 for column in index)
        and len(index.counts) == len(index.id_sizes)
        and index.counts.sum(dtype=np.int64) == len(index.lengths)
        and index.id_sizes.sum(dtype=np.int64) == len(index.ids)
        and index.ids.dtype == np.uint8
    )
    if not fits:
        raise ValueError("the columns of an index do not fit each other")
    return index


def read_index(stem: Path) -> SegmentIndex:
    """The index of a finished task.

    Raises:
        UserError: its done marker is missing or damaged.
    """
    try:
        return parse_index(read_result(stem) or {})
    except (KeyError, ValueError) as error:
        raise _damaged(stem, f"no index of segments ({error})") from error


def read_segments(
    stem: Path, index: SegmentIndex, numbers: npt.NDArray[np.int64], token_bytes: int
) -> Iterator[tuple[bytes, npt.NDArray[np.uint8], bytes]]:
    """Of each segment with one of these numbers: its tokens as they are stored, its word starts (0 or 1), and its id.

    Raises:
        UserError: the file has another size than its index says.
    """
    path = stem.with_suffix(".segments")
    offsets, owners = index.offsets(token_bytes), index.documents()
    if not path.is_file() or path.stat().st_size != offsets[-1]:
        raise _damaged(stem, "not as many segments as its index says")
    ids, id_ends = index.ids.tobytes(), np.cumsum(index.id_sizes, dtype=np.int64)
    starts = (id_ends - index.id_sizes)[owners[numbers]].tolist()
    # A plain view: slices of a memory map are slow to make.
    records = np.memmap(path, np.uint8, "r").view(np.ndarray) if offsets[-1] else np.empty(0, np.uint8)
    content = memoryview(records)  # type: ignore[arg-type]
    for offset, length, start, end in zip(
        offsets[numbers].tolist(),
        index.lengths[numbers].tolist(),
        starts,
        id_ends[owners[numbers]].tolist(),
        strict=True,
    ):
        bits = offset + token_bytes * length
        word_starts = np.unpackbits(records[bits : bits + (length + 7) // 8], count=length)
        yield bytes(content[offset:bits]), word_starts, ids[start:end]


def _damaged(stem: Path, why: str) -> UserError:
    path = stem.with_suffix(".segments")
    return UserError(f"{path}: {why}: remove {stem.with_suffix('.done')} and prepare the data again")
