"""The segments of a file's documents on disk: batches of plain arrays, one after the other; nothing is unpickled.

A batch is five arrays in NumPy's format: the number of segments of each document, the lengths of the segments in
tokens, their tokens, their word starts, and the documents' ids as JSON.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from ...configs.errors import UserError
from .chunking import Segment

_TYPES = (np.int32, np.int32, np.uint16, np.bool_, np.uint8)


def write_batch(file: BinaryIO, ids: Sequence[str], documents: Sequence[Sequence[Segment]]) -> None:
    """Append a batch: each document's id and its segments."""
    segments = [segment for document in documents for segment in document]
    columns = (
        [len(document) for document in documents],
        [len(segment.tokens) for segment in segments],
        np.concatenate([np.empty(0, np.uint16), *(segment.tokens for segment in segments)]),
        np.concatenate([np.empty(0, np.bool_), *(segment.word_starts for segment in segments)]),
        np.frombuffer(json.dumps(ids).encode(), np.uint8),
    )
    for column, kind in zip(columns, _TYPES, strict=True):
        np.save(file, np.asarray(column, kind), allow_pickle=False)


def read_batches(path: Path, documents: int) -> Iterator[list[list[Segment]]]:
    """Yield the batches of a file with this number of documents.

    Raises:
        UserError: the file has other content than `write_batch` writes.
    """
    read = 0
    with path.open("rb") as file:
        while read < documents:
            try:
                batch = _read_batch(file)
            except Exception as error:  # a damaged header makes NumPy raise errors of many kinds
                raise UserError(
                    f"{path}: not the segments of a tokenized file, or damaged ({type(error).__name__}): remove "
                    f"{path.with_suffix('.done')} and prepare the data again"
                ) from error
            read += len(batch)
            yield batch


def _read_batch(file: BinaryIO) -> list[list[Segment]]:
    counts, lengths, tokens, word_starts, encoded = (_read_column(file, kind) for kind in _TYPES)
    ids = json.loads(encoded.tobytes())
    fits = len(ids) == len(counts) and counts.sum() == len(lengths) and lengths.sum() == len(tokens) == len(word_starts)
    if not fits or min(counts, default=0) < 0 or min(lengths, default=0) < 0 or not len(counts):
        raise ValueError("the columns of a batch do not fit each other")
    ends = np.cumsum(lengths)
    owners = [document_id for document_id, count in zip(ids, counts, strict=True) for _ in range(count)]
    segments = [
        Segment(owner, tokens[end - length : end], word_starts[end - length : end])
        for owner, end, length in zip(owners, ends, lengths, strict=True)
    ]
    last = np.cumsum(counts)
    return [segments[end - count : end] for end, count in zip(last, counts, strict=True)]


def _read_column(file: BinaryIO, kind: type) -> npt.NDArray[Any]:
    column: npt.NDArray[Any] = np.load(file, allow_pickle=False)
    if column.dtype != kind or column.ndim != 1:
        raise ValueError(f"expected a column of {kind.__name__}")
    return column
