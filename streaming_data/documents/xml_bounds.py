"""Bounds on XML beyond those of libxml2 (10 MB per text or attribute, 256 levels, little expansion of entities).

A parsed tag or attribute takes about 120 bytes, so a file of four-byte tags takes thirty times its size. Their number
is estimated before parsing, by the characters that each of them must have.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from ...configs.limits import XML_BYTES, XML_TAGS, TooLargeError

_DECLARATION = re.compile(rb"<\?xml\s")


def split_at_declarations(blocks: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    """The blocks of a file, cut before each XML document but the first, and whether a document begins with the piece.

    Files that were written by appending several answers of a server have such documents. A declaration must not be cut
    by the end of a block.
    """
    is_new = has_tags = False
    for block in blocks:
        start = 0
        for match in _DECLARATION.finditer(block) if b"<?xml" in block else ():
            if has_tags or b"<" in block[start : match.start()]:
                yield block[start : match.start()], is_new
                start, is_new, has_tags = match.start(), True, False
        yield block[start:], is_new
        has_tags = has_tags or b"<" in block[start:]
        is_new = False


def message_of(error: Any) -> str:
    """What libxml2 says of a syntax error, without the line, which it counts from the start of a document."""
    return str(error.msg).partition(", line ")[0]


def count_tags(content: bytes) -> int:
    """At least the number of elements and attributes that a parser makes of the content."""
    return content.count(b"<") + content.count(b"=")


def check_tags(name: str, content: bytes) -> None:
    """Raise TooLargeError for a document with too many tags to be parsed as one tree."""
    if (tags := count_tags(content)) > XML_TAGS:
        raise TooLargeError(f"{name}: about {tags:,} tags and attributes in one document, more than {XML_TAGS:,}")


class Budget:
    """Counts what was parsed since the last record, which is what a streaming parser holds."""

    def __init__(self, name: str, kind: str) -> None:
        self._name = name
        self._kind = kind
        self.reset()

    def reset(self) -> None:
        self._bytes = self._tags = 0

    def add(self, block: bytes) -> None:
        """Raises TooLargeError if the bytes or tags since the last record are too many."""
        self._bytes += len(block)
        self._tags += count_tags(block)
        if self._bytes > XML_BYTES or self._tags > XML_TAGS:
            raise TooLargeError(
                f"{self._name}: {self._bytes:,} bytes with about {self._tags:,} tags and attributes without the end of "
                f"{self._kind}; expected at most {XML_BYTES:,} and {XML_TAGS:,}"
            )


class BoundedXml:
    """A file for a parser, which spends the budget as it reads."""

    def __init__(self, file: BinaryIO, budget: Budget) -> None:
        self._file = file
        self._budget = budget

    def read(self, size: int) -> bytes:
        block = self._file.read(size)
        self._budget.add(block)
        return block
