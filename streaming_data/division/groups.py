"""Small files in groups of bounded bytes, because a task has a fixed cost: a process, a done marker, two syncs.

A group ends where the name of a file says so, or where it is full. A file that is added to a source therefore changes
one or two groups, not all that follow it, and the results of the others remain valid.
"""

import os
from collections.abc import Iterator, Sequence

import xxhash

from ..documents.files import FoundFile

GROUP_BYTES = 1 << 22
"""Of one group; a larger file is alone."""

_FILE_BYTES = 1 << 10
"""What opening and closing a file costs, as bytes of text that would take as long."""


def group_files(files: Sequence[FoundFile]) -> Iterator[range]:
    """Runs of neighbors, in order: ranges of indices into `files`. They depend only on the paths and sizes."""
    start = total = 0
    for number, file in enumerate(files):
        cost = file.size + _FILE_BYTES
        if number > start and total + cost > GROUP_BYTES:
            yield range(start, number)
            start, total = number, 0
        total += cost
        if total > GROUP_BYTES // 4 and _ends_group(file.path, cost):
            yield range(start, number + 1)
            start, total = number + 1, 0
    if start < len(files):
        yield range(start, len(files))


def _ends_group(path: str, cost: int) -> bool:
    """With the same chance for every byte, so that groups are about half full whatever the size of their files."""
    return xxhash.xxh3_64_intdigest(os.fsencode(path)) * GROUP_BYTES < cost << 66
