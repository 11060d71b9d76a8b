"""Parts of a large input file that begin and end between records, so that each can be read on its own."""

import io
import os
from typing import BinaryIO, NamedTuple


class Span(NamedTuple):
    """A part of an input file.

    Attributes:
        content: the file with its bytes: the input file, or what it was unpacked to.
        start, stop: bytes of `content`; of a Parquet file, its row groups.
        first: the number of records (of JSON Lines: of lines) that precede it.
        records: the number of its records, where the format of the file needs it.
    """

    content: str
    start: int
    stop: int
    first: int
    records: int


def open_span(span: Span) -> BinaryIO:
    """The bytes of a span."""
    return io.BufferedReader(_Slice(span), 1 << 16)


def ends_file(span: Span) -> bool:
    return span.stop >= os.path.getsize(span.content)


class _Slice(io.RawIOBase):
    """A part of a file as a stream."""

    def __init__(self, span: Span) -> None:
        self._file = open(span.content, "rb", buffering=0)  # noqa: SIM115 - closed by `close`
        self._file.seek(span.start)
        self._left = span.stop - span.start

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        count = self._file.readinto(buffer[: self._left])
        self._left -= count
        return count

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()
