"""Reading within the bounds of `configs/limits.py`: expansion of compressed files, lines, and files read at once."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, TextIO

from ...configs.limits import DOCUMENT_CHARACTERS, EXPANSION, FREE_EXPANSION, TooLargeError

_BLOCK = 1 << 16


class _Expanding(io.RawIOBase):
    """Decompressed bytes; `compressed` is how many bytes they have come from so far."""

    def __init__(self, name: str, file: BinaryIO, compressed: Callable[[], int]) -> None:
        self._name = name
        self._file = file
        self._compressed = compressed
        self._size = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]
        block = self._file.read(len(buffer))
        buffer[: len(block)] = block
        self._size += len(block)
        if self._size > FREE_EXPANSION and self._size > EXPANSION * (compressed := self._compressed()):
            raise TooLargeError(
                f"{self._name}: {compressed:,} compressed bytes expand to more than {self._size:,}, over {EXPANSION} "
                "times as many, as no text does; if it is right nevertheless, unpack it yourself and name the unpacked "
                "file in `paths`"
            )
        return len(block)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


def bound_expansion(name: str, file: BinaryIO, compressed: Callable[[], int]) -> BinaryIO:
    """The bytes of `file`, until they are out of proportion to the `compressed` ones that were read for them."""
    return io.BufferedReader(_Expanding(name, file, compressed), _BLOCK)


def read_at_once(file: BinaryIO, limit: int, name: str) -> bytes:
    """All bytes of a file that has at most `limit`; TooLargeError for another."""
    content = file.read(limit + 1)
    if len(content) > limit:
        raise TooLargeError(
            f"{name}: more than {limit:,} bytes, which is no file of this kind; check that it is the right one"
        )
    return content


def bounded_lines(path: Path, file: TextIO, limit: int) -> Iterator[str]:
    """The lines of a file; TooLargeError for one of more than `limit` characters, before it is in memory."""
    number = 0
    while line := file.readline(limit + 1):
        number += 1
        if len(line) > limit:
            raise TooLargeError(
                f"{path}: line {number:,} has more than {limit:,} characters; check that its line ends are there, or "
                "split its text into several documents"
            )
        yield line


def document_too_long(path: Path, position: str, characters: int) -> TooLargeError:
    """The error for a document above the bound; none is cut."""
    return TooLargeError(
        f"{path}: {position} has a text of {characters:,} characters; a document may have {DOCUMENT_CHARACTERS:,}: "
        "split it into several documents, or leave it out"
    )
